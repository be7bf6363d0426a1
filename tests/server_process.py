# SPDX-License-Identifier: Apache-2.0
"""A real `qonduit serve` and `qonduit worker` for tests and measurements, and the resources of their processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from qonduit_server.setting_options import Configuration, settings_options
from tests import warm_workers
from tests.warm_server import ForkedServer, WarmServers

#: The server of this environment.
SERVE: Final = (sys.executable, "-m", "qonduit_server", "serve")
#: The worker machine of this environment.
WORK: Final = (sys.executable, "-m", "qonduit_server", "worker")
#: For a server on a busy machine to log a line.
_LOG_SECONDS: Final = 60.0
_TICK = os.sysconf("SC_CLK_TCK")
#: Starts the servers of this environment, in a session of tests; measurements start them as operators do.
warm: WarmServers | None = None


@dataclass
class Server:
    """A running server: where it serves, its process, and how long it took from start to serving (seconds)."""

    target: str
    process: subprocess.Popen[str] | ForkedServer
    serving_after: float
    log: Path | None = None

    def family(self) -> list[int]:
        """Return the process ids of the server and its descendants."""
        return family(self.process.pid)

    def workers(self) -> list[int]:
        """Return the process ids of the workers: the children of its fork servers."""
        parents = warm_workers.parents()
        return [pid for pid, parent in parents.items() if parents.get(parent) == self.process.pid]

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes so far, reaped ones included."""
        total = 0
        for pid in self.family():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15]))
        return total / _TICK

    def resident(self) -> int:
        """Return the resident bytes of the server process alone."""
        return resident(self.process.pid)


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x[:6] == "VmRSS:")
    return int(line.split()[1]) * 1024


def log_lines(server: Server, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
    """Wait until this many wanted lines are in the log, and return them; all lines are JSON objects."""
    assert server.log is not None
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        whole = server.log.read_text().rpartition("\n")[0]
        found = [line for line in map(json.loads, whole.splitlines()) if wanted(line)]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, (count, found)
        threading.Event().wait(0.02)


def configuration_of(*arguments: str) -> Configuration:
    """Return the configuration of a command with all settings, for its arguments and the present environment."""

    @click.command()
    @settings_options()
    def command(configuration: Configuration) -> Configuration:
        return configuration

    found = command.main(list(arguments), standalone_mode=False)
    assert isinstance(found, Configuration)
    return found


def family(root: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    parents, found = warm_workers.parents(), [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def serving(
    database: str,
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = SERVE,
    listen: str = "127.0.0.1:0",
    **settings: str,
) -> Iterator[Server]:
    """Start `qonduit serve`, by default on a free loopback port, and end it afterwards.

    Args:
        database: an SQLAlchemy URL.
        log: a file for its log (standard error, JSON lines); None discards it.
        environment: further variables for its processes.
        command: the command that serves; by default that of this environment.
        listen: the address.
        settings: further QONDUIT_* settings, by their lower-case names.
    """
    variables = (
        os.environ
        | dict(environment or {})
        | {"QONDUIT_LOG_FORMAT": "json"}
        # A test must not hit translations cached by another.
        | ({} if "translation_cache" in settings else {"QONDUIT_TRANSLATION_CACHE_BYTES": "0"})
        # Few tests use all SDKs, and loading one takes seconds: an SDK is loaded when a job needs it.
        | {"QONDUIT_PRELOAD": "IBM"}
        | {f"QONDUIT_{name.upper()}": value for name, value in settings.items()}
    )
    begun = time.perf_counter()
    arguments = ["--listen", listen, "--database", database]
    process: subprocess.Popen[str] | ForkedServer
    with Path(log or os.devnull).open("a") as errors:
        if warm is not None and command == SERVE and warm.can_start(variables):
            process = warm.start(arguments, variables, errors)
        else:
            process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=variables
            )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("serving on "):
            raise RuntimeError(f"the server did not start: {line!r}")
        yield Server(line.split()[-1], process, time.perf_counter() - begun, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serving_programs(folder: Path, **settings: str) -> AbstractContextManager[Server]:
    """Start a server that runs Python programs, with its database in a folder; see `serving`."""
    database = f"sqlite:///{folder / 'q.sqlite3'}"
    return serving(database, providers="IBM", workers="1", enable_python_source="PYTHON", **settings)  # type: ignore[arg-type]


@contextmanager
def working(
    broker: str,
    providers: str = "IBM",
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = WORK,
    **settings: str,
) -> Iterator[subprocess.Popen[str]]:
    """Start `qonduit worker`, by default with one worker process, and end it afterwards.

    Args:
        broker: the URL of a RabbitMQ.
        providers: the names of its providers.
        log: a file for its log (standard error); None discards it.
        environment: further variables for its processes.
        command: the command that works; by default that of this environment.
        settings: further QONDUIT_* settings, by their lower-case names.
    """
    variables = {f"QONDUIT_{name.upper()}": value for name, value in settings.items()}
    defaults = {"QONDUIT_BROKER": broker, "QONDUIT_PROVIDERS": providers, "QONDUIT_WORKERS": "1"}
    with Path(log or os.devnull).open("a") as errors:
        process = subprocess.Popen(
            command,
            env=os.environ | defaults | variables | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("worker ")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
