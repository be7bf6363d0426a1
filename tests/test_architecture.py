# SPDX-License-Identifier: Apache-2.0
"""The architecture rules: which module may import which, and which modules each process loads."""

from __future__ import annotations

import fnmatch
import functools
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SDKS = {"qiskit", "qiskit_aer", "cirq", "braket", "numpy", "scipy", "sympy", "openqasm3"}
SERVER_ONLY = {"grpc", "sqlalchemy", "alembic", "psycopg", "structlog"}


@functools.cache
def _lines(code: str) -> list[str]:
    """Run code in a fresh interpreter; return its output, with the loaded top-level modules in the last line."""
    tail = "\nimport sys\nprint('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _loaded(code: str) -> set[str]:
    line = next(line for line in _lines(code) if line.startswith("LOADED"))
    return set(line.split()[1:])


BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'

SERVER_AT_WORK = f"""
import tempfile, threading, pathlib
from qonduit_server import app
from qonduit_server.settings import Settings
import qonduit_client
with tempfile.TemporaryDirectory() as folder:
    settings = Settings(listen="127.0.0.1:0", database="sqlite:///" + folder + "/q.sqlite3", providers=("IBM",),
                        log_level="error", translation_cache_bytes=0)
    running = app.start(settings)
    try:
        job = qonduit_client.Client(running.target).run({BELL!r}, device="IBM/aer_simulator", shots=100)
        counts = job.result(timeout=90).counts
        assert set(counts) <= {{"0x0", "0x3"}}, counts
        for thread in threading.enumerate():
            print("THREAD", thread.name)
    finally:
        running.stop(0, threading.Event())
"""

WORKER_AT_WORK = f"""
import qonduit_server.worker.forkserver
from qonduit_server.worker import runner
from qonduit_server.providers import registry
from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.job_pb2 import JobType
from qonduit_server.languages.registry import Languages
working = runner.Runner(registry.get("IBM"), Languages())
working.load()
spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=10)
task = Task(job_id=1, attempt=1, provider="IBM", device="aer_simulator", spec=spec)
task.programs.add(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text={BELL!r})
events = []
working.run(task, events.append)
assert any(event.HasField("program_succeeded") for event in events), events
"""


def test_the_server_process_loads_no_quantum_sdk() -> None:
    loaded = _loaded(SERVER_AT_WORK)
    assert "sqlalchemy" in loaded
    assert not loaded & SDKS


def test_every_thread_of_a_server_is_listed_in_the_architecture() -> None:
    names = {line.removeprefix("THREAD ") for line in _lines(SERVER_AT_WORK) if line.startswith("THREAD ")}
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## Threads and pools")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = [pattern for row in rows for pattern in re.findall("`([^`]+)`", row)]
    # The client is in the same process; grpcio names its threads after their functions.
    names = {name for name in names if name != "MainThread" and not re.fullmatch(r"Thread-\d+ \(\w+\)", name)}
    assert {"dispatcher-claimer", "process-pool", "store-writer"} <= names
    assert not [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in listed)]


def test_a_worker_loads_neither_database_nor_grpc() -> None:
    loaded = _loaded(WORKER_AT_WORK)
    assert "qiskit_aer" in loaded
    assert not loaded & SERVER_ONLY


def test_a_worker_machine_loads_neither_database_nor_grpc_nor_an_sdk() -> None:
    loaded = _loaded("import qonduit_server.worker_program, qonduit_server.execution.celery.machine_program")
    assert "celery" in loaded
    assert not loaded & ((SERVER_ONLY - {"structlog"}) | SDKS)


@pytest.mark.parametrize("module", ["qonduit_client", "qonduit_client.cli.commands"])
def test_the_client_and_its_command_line_load_no_sdk_and_no_server(module: str) -> None:
    loaded = _loaded(f"import {module}")
    assert not loaded & (SDKS | {"sqlalchemy", "qonduit_server"})


def test_the_import_rules_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_file_names_its_licence_and_says_what_lives_there() -> None:
    for root in ("server", "clients/python"):
        for path in (ROOT / root).rglob("*.py"):
            text = path.read_text()
            assert text.startswith("# SPDX-License-Identifier: Apache-2.0"), path
            if len(text.splitlines()) > 2:
                assert '"""' in "\n".join(text.splitlines()[:3]), f"{path} has no module docstring"


def test_no_file_has_grown_into_two() -> None:
    """A file of more than 400 lines holds more than one concept (CONTRIBUTING.md)."""
    for root in ("server", "clients/python"):
        for path in (ROOT / root).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 450, path


def test_each_provider_extra_is_offered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"server", "ibm", "aws", "google", "all"} <= set(project["optional-dependencies"])


def test_no_file_name_occurs_more_than_twice() -> None:
    """A frequent name is ambiguous; `__init__`, `__main__` and `conftest` mean the same everywhere."""
    names = Counter(
        path.name
        for root in ("server", "clients/python", "tests")
        for path in (ROOT / root).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py", "conftest.py")
    )
    assert not [name for name, number in names.items() if number > 2]
