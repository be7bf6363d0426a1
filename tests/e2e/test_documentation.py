# SPDX-License-Identifier: Apache-2.0
"""Run every command and code block of the documents, in order, as a reader would, so that none becomes outdated.

A document is one session in an empty folder: `.venv` points to the environment; servers that a block starts run in
the background and end with the document. So that SDKs are loaded once, one interpreter runs the blocks of Python, each
document with its own names, and documents that start a server with no options share one. Ports and the URLs of
PostgreSQL and RabbitMQ in a document are replaced by real ones.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import qonduit_client
from tests.contract.rpc_fixture import until
from tests.missing_components import lacking
from tests.postgresql import PostgresqlServer, becoming, find_binaries, unprivileged
from tests.rabbitmq import RabbitmqBroker, find_installation
from tests.server_process import Server, free_port, serving
from tests.slurm import SlurmCluster, is_installed

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").glob("*.md")]
)
#: Blocks in these languages are run; others (text, proto, json ...) are not.
RUN = {"bash", "python"}
#: Documents that refer to the files of the server they start, or to its first job.
OWN_SERVER = {"README.md", "docs/databases.md", "docs/operating.md", "docs/tutorial.md"}
#: Programs that blocks need and that some machines lack.
TOOLS = ("grpcurl", "jq", "protoc", "rabbitmqctl", "sbatch")
#: The package of a program, if its name differs.
PACKAGES = {"rabbitmqctl": "RabbitMQ", "sbatch": "Slurm"}
#: Programs of PostgreSQL with which a document starts a server of its own, as an unprivileged user.
POSTGRESQL = ("initdb", "pg_ctl", "pg_basebackup", "psql", "createdb")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = re.compile(r"^\.venv/bin/qonduit serve\b(?P<options>.*)$")
_WORKER = re.compile(r"^\.venv/bin/qonduit worker\b(?P<options>.*)$")
_SHOWN_DATABASE = "postgresql://qonduit@127.0.0.1:5432/qonduit"
_SHOWN_BROKER = "127.0.0.1:5672"


def blocks(document: str) -> list[tuple[str, str]]:
    """Return the document's code blocks as (language, text)."""
    return [(m[1], m[2]) for m in _FENCE.finditer((ROOT / document).read_text())]


#: Runs blocks received as lines of JSON; their output is written to a file, replies to standard output.
_INTERPRETER = """
import json, os, sys, traceback
replies = os.fdopen(os.dup(1), "w")
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
for line in sys.stdin:
    block = json.loads(line)
    os.environ.update(block["environment"])
    code = 0
    try:
        exec(compile(block["text"], "<block>", "exec"), {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    print(code, file=replies, flush=True)
"""


@dataclass
class Session:
    """The session of one document: a folder, the servers started so far, and the real addresses of those shown."""

    folder: Path
    database: str
    shared: Callable[[], Server]
    own_server: bool
    servers: list[subprocess.Popen[str]] = field(default_factory=list)
    real: dict[str, str] = field(default_factory=dict)
    interpreter: subprocess.Popen[str] | None = None
    missing: dict[str, None] = field(default_factory=dict)
    cluster: SlurmCluster | None = None

    @property
    def tools(self) -> Path:
        """The folder of programs that replace those of the machine."""
        return self.folder / "bin"

    def _exchanged(self, text: str) -> str:
        for shown, real in self.real.items():
            text = text.replace(shown, real)
        return text.replace(_SHOWN_DATABASE, self.database)

    def _environment(self) -> dict[str, str]:
        environment = {
            **os.environ,
            "NO_COLOR": "1",
            "QONDUIT_CONFIG": str(self.folder / "config.toml"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            **(self.cluster.environment if self.cluster else {}),
        }
        if "127.0.0.1:50051" in self.real:
            environment["QONDUIT_SERVER"] = self.real["127.0.0.1:50051"]
        go = shutil.which("go")
        if go:
            path = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
            environment["PATH"] += f":{path}/bin"
        if grpcurl := shutil.which("grpcurl", path=environment["PATH"]):
            # grpcurl gives up after 10 s if a busy machine does not connect; the documents need not mention that.
            patient = self.tools / "grpcurl"
            if not patient.exists():
                patient.write_text(f'#!/bin/sh\nexec {grpcurl} -connect-timeout 100 "$@"\n')
                patient.chmod(0o755)
        environment["PATH"] = f"{self.tools}:{environment['PATH']}"
        return environment

    def _start(self, command: str, line_start: str) -> str:
        """Start a program in the background; return the rest of its first line."""
        program = subprocess.Popen(
            f"exec .venv/bin/qonduit {command}",
            shell=True,
            cwd=self.folder,
            # An SDK that no block needs is not loaded.
            env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), "QONDUIT_PRELOAD": "IBM"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.servers.append(program)
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line.startswith(line_start), line
        return line.removeprefix(line_start).strip()

    def _serve(self, options: str) -> None:
        shown = re.search(r"--listen (\S+)", options)
        if metrics := re.search(r"--metrics-address (\S+)", options):
            self.real[metrics[1]] = f"127.0.0.1:{free_port()}"
        options = re.sub(r"--listen \S+", "", self._exchanged(options)).strip()
        if not options and shown is None and not self.own_server:
            self.real["127.0.0.1:50051"] = self.shared().target
            return
        target = self._start(f"serve --listen 127.0.0.1:0 {options}", "serving on ")
        self.real[shown[1] if shown else "127.0.0.1:50051"] = target
        if (broker := self.real.get(_SHOWN_BROKER)) and broker in options:
            # The document has started a machine, which a busy system connects later.
            with qonduit_client.Client(target) as client:
                until(lambda: bool(client.named_devices("available = true")))

    def _run(self, command: list[str], text: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"

    def _python(self, text: str) -> None:
        written = self.folder / "written-by-python"
        if self.interpreter is None:
            self.interpreter = subprocess.Popen(
                [sys.executable, "-c", _INTERPRETER, str(written)],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.interpreter.stdin is not None
        assert self.interpreter.stdout is not None
        late = threading.Timer(300, self.interpreter.kill)
        late.start()
        print(json.dumps({"text": text, "environment": self._environment()}), file=self.interpreter.stdin, flush=True)
        reply = self.interpreter.stdout.readline()
        late.cancel()
        assert reply == "0\n", f"{text}\n{written.read_text()}"

    def end(self) -> None:
        """End the processes that blocks started."""
        if self.interpreter is not None:
            self.interpreter.communicate(timeout=60)
            assert self.interpreter.returncode == 0, "the interpreter of the blocks did not end well"
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait(timeout=60)
        for started in self.folder.glob("*/postmaster.pid"):  # after a failure
            with suppress(ProcessLookupError):
                os.kill(int(started.read_text().split()[0]), signal.SIGQUIT)

    def needed(self, text: str) -> list[str]:
        """Return the programs that a block needs and this machine lacks."""
        tools = [tool for tool in TOOLS if re.search(rf"\b{tool}\b", text)]
        tools = [PACKAGES.get(tool, tool) for tool in tools]
        needs_postgresql = _SHOWN_DATABASE in text or "host=$PWD" in text or any(each in text for each in POSTGRESQL)
        return [*tools, "PostgreSQL"] if needs_postgresql else tools

    def _has(self, tool: str) -> bool:
        if tool == "PostgreSQL":
            return bool(self.database)
        if tool == "RabbitMQ":
            return _SHOWN_BROKER in self.real
        if tool == "Slurm":
            return self.cluster is not None and _SHOWN_BROKER in self.real
        return shutil.which(tool, path=self._environment()["PATH"]) is not None

    def follow(self, language: str, text: str) -> None:
        """Run one block; `missing` then has the programs that it needs and this machine lacks."""
        if missing := [tool for tool in self.needed(text) if not self._has(tool)]:
            self.missing.update(dict.fromkeys(missing))
            return
        if language == "python":
            self._python(self._exchanged(text))
        elif serve := _SERVE.match(text.strip()):
            self._serve(serve["options"])
        elif worker := _WORKER.match(text.strip()):
            self._start(f"worker {self._exchanged(worker['options'])}", "worker ")
        elif make := re.fullmatch(r"make (\w+).*", text.strip()):
            # Running the tests inside a test would not end, and builds without caches last minutes: only the target's
            # commands are printed.
            dry = ["--dry-run"] if make[1] in {"test", "bench", "check", "clients"} else []
            self._run(["make", "-C", str(ROOT), *dry, *text.split()[1:]], text)
        else:
            self._run(["bash", "-euo", "pipefail", "-c", self._exchanged(text)], text)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """The server of the documents that start one without options; started for the first of them."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('documents') / 'qonduit.sqlite3'}"
        yield cache(lambda: stack.enter_context(serving(url, preload="IBM,AWS,GOOGLE")))


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path, shared: Callable[[], Server]) -> Iterator[Session]:
    """A session in an empty folder with the environment."""
    document = request.node.callspec.params["document"]
    folder, binaries = tmp_path, find_binaries()
    if "initdb" in (ROOT / document).read_text():
        # Short, for the paths of sockets, and of the user who runs PostgreSQL.
        folder = Path(tempfile.mkdtemp(prefix="qdoc"))
        if (identity := unprivileged()) is not None:
            os.chown(folder, *identity)
            folder.chmod(0o755)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (folder / "build").symlink_to(ROOT / "build")  # files that `make` generates
    database = ""
    if binaries is not None:
        postgresql: PostgresqlServer = request.getfixturevalue("postgresql")
        database = postgresql.url(postgresql.new_database())
    session = Session(folder, database, shared, document in OWN_SERVER)
    session.tools.mkdir()
    if binaries is not None:
        for name in POSTGRESQL:
            command = shlex.join([*becoming(unprivileged()), str(binaries / name)])
            (session.tools / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (session.tools / name).chmod(0o755)
    if "rabbitmqctl" in (ROOT / document).read_text() and find_installation() is not None:
        broker: RabbitmqBroker = request.getfixturevalue("rabbitmq")
        session.real[_SHOWN_BROKER] = broker.address
        broker.write_control(session.tools / "rabbitmqctl")
    if "sbatch" in (ROOT / document).read_text() and is_installed():
        session.cluster = request.getfixturevalue("slurm")
    yield session
    session.end()
    if folder != tmp_path:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if any(lang in RUN for lang, _ in blocks(name))])
def test_every_block_of_the_document_works(document: str, session: Session) -> None:
    for language, text in blocks(document):
        if language in RUN:
            session.follow(language, text)
    if session.missing:
        lacking(f"blocks of {document}", *session.missing)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_the_document_has_a_target(document: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / document).read_text()):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), f"{document} names {target}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if "tests/" in (ROOT / name).read_text()])
def test_every_test_that_the_document_names_exists(document: str) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / document).read_text()):
        assert (ROOT / path).exists(), f"{document} names {path}"
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{document} names {path}::{name}"
