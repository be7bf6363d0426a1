# SPDX-License-Identifier: Apache-2.0
"""The command line with a real server: its output for people and programs, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qonduit_client.cli import commands as cli
from tests.server_process import Server

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
COMMAND = [sys.executable, "-m", "qonduit_client.cli"]
PLAIN = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "QONDUIT_SERVER")}


def process(server: Server, *arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Run a command as a process in a pipe; return its exit code, standard output and standard error."""
    done = subprocess.run(
        [*COMMAND, "--server", server.target, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=PLAIN,
    )
    return done.returncode, done.stdout, done.stderr


def qonduit(server: Server, *arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Run a command in this process, which is quicker; return the same."""
    done = CliRunner().invoke(cli.qonduit, ["--server", server.target, *arguments], input=text)
    return done.exit_code, done.stdout, done.stderr


def objects(written: str) -> list[Any]:
    """Return the JSON objects on standard output, one a line."""
    return [json.loads(line) for line in written.splitlines()]


@pytest.fixture
def bell(tmp_path: Path) -> str:
    """A file with a Bell program."""
    path = tmp_path / "bell.qasm"
    path.write_text(BELL)
    return str(path)


def test_run_in_a_pipe(server: Server, bell: str) -> None:
    code, written, errors = process(server, "run", bell, "--device", "IBM/aer_simulator", "--shots", "1000")
    assert (code, errors) == (0, "")
    lines = written.splitlines()
    assert lines[0].split()[1:3] == ["s", "created"]
    assert any(line.split()[1:3] == ["s", "running"] for line in lines)
    assert any(line.split()[1:3] == ["s", "succeeded"] for line in lines)
    bars = [line.split() for line in lines if line.startswith("  0x")]
    assert [bar[0] for bar in bars] == ["0x0", "0x3"]
    assert sum(int(bar[1]) for bar in bars) == 1000
    assert "\x1b" not in written


def test_run_with_json(server: Server, bell: str) -> None:
    code, written, errors = process(server, "run", bell, "-", "--json", "--seed", "1", text=BELL)
    assert (code, errors) == (0, "")
    *events, final = objects(written)
    assert [event["event"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert final["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert len(final["results"]) == 2
    for result in final["results"]:
        assert sum(result["counts_and_probabilities"]["counts"].values()) == result["shots"] == 1000


def test_run_on_a_terminal(server: Server, bell: str) -> None:
    master, slave = pty.openpty()
    variables = PLAIN | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [*COMMAND, "--server", server.target, "run", bell], stdin=slave, stdout=slave, stderr=slave, env=variables
    )
    os.close(slave)
    written = b""
    with suppress(OSError):  # EIO: the other side was closed
        while chunk := os.read(master, 65536):
            written += chunk
    os.close(master)
    text = written.decode()
    assert process.wait(100) == 0, text
    assert "SUCCEEDED" in text
    assert "100%" in text
    assert "\x1b[36m█" in text


def test_detached_then_followed(server: Server, bell: str) -> None:
    code, written, _ = qonduit(server, "run", bell, "--detach", "--name", "later")
    job = written.strip()
    assert code == 0
    assert job.isdigit()
    assert qonduit(server, "watch", job)[0] == 0
    assert "0x3" in qonduit(server, "result", job, "--wait")[1]
    assert "SUCCEEDED, 100% done" in qonduit(server, "job", job)[1]
    assert any(line.split()[0] == job for line in qonduit(server, "jobs")[1].splitlines())
    assert job in {str(each["id"]) for each in objects(qonduit(server, "jobs", "--json", "--state", "succeeded")[1])}
    assert qonduit(server, "cancel", job)[1] == f"job {job}: SUCCEEDED\n"
    assert qonduit(server, "rerun", job)[0] == 0
    assert qonduit(server, "delete", job)[0] == 0
    assert qonduit(server, "job", job)[0] == 3


def test_exit_codes(server: Server, bell: str) -> None:
    code, _, errors = process(server, "run", "-", text="OPENQASM 2.0;\nqreg q[1];\nnonsense q[0];\n")
    assert code == 1
    assert "Failed" in errors
    for expected, arguments in {
        2: ["run", "no/such/file.qasm"],
        3: ["run", bell, "--device", "UNKNOWN/nothing"],
        4: ["run", bell, "--shots", "0"],
    }.items():
        code, _, errors = qonduit(server, *arguments)
        assert code == expected, errors
        assert "Traceback" not in errors
        assert errors


def test_validate_only(server: Server, bell: str) -> None:
    code, written, _ = qonduit(server, "run", bell, "--validate-only")
    assert code == 0
    assert written.startswith("valid")


def test_deployments(server: Server, bell: str) -> None:
    (made,) = objects(qonduit(server, "deployments", "create", bell, "--name", "by hand", "--json")[1])
    number = str(made["id"])
    assert any(line.split()[0] == number for line in qonduit(server, "deployments")[1].splitlines())
    assert "cx q[0], q[1];" in qonduit(server, "deployments", "show", number)[1]
    assert qonduit(server, "deployments", "delete", number)[1] == f"deployment {number}: deleted\n"
    assert qonduit(server, "deployments", "show", number)[0] == 3


def test_devices_and_info(server: Server) -> None:
    code, written, errors = qonduit(server, "devices")
    assert code == 0, errors
    assert {"IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"} <= {
        line.split()[0] for line in written.splitlines()
    }
    assert "QASM2, QASM3" in qonduit(server, "devices", "--languages")[1]
    assert f"at {server.target}" in qonduit(server, "info")[1]
