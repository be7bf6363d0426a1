# SPDX-License-Identifier: Apache-2.0
"""The command line as a separate process: on a terminal, in a pipe, interrupted."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.event_pb2 import JobEvent, Progress, StateChange
from qonduit.v1.job_pb2 import DeviceChoice, Job
from qonduit_client.cli.views import LiveBoard
from tests.interruptible import INTERRUPTIBLE
from tests.unit.client.peer import BELL, FAILED, RUNNING, SUCCEEDED, Peer, Stream, history

COMMAND = [sys.executable, "-m", "qonduit_client.cli"]


def environment(peer: Peer, **further: str) -> dict[str, str]:
    """Return the environment of a terminal of 100 columns with the peer as its server."""
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    return plain | {"QONDUIT_SERVER": peer.target, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | further


def on_terminal(arguments: list[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and its output."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, env=variables, close_fds=True
    )
    os.close(slave)
    written = b""
    with suppress(OSError):  # EIO: the other side was closed
        while chunk := os.read(master, 65536):
            written += chunk
    os.close(master)
    return process.wait(100), written.decode()


@pytest.fixture
def bell(tmp_path: Path) -> str:
    """Return a file with a Bell program."""
    path = tmp_path / "bell.qasm"
    path.write_text(BELL)
    return str(path)


def test_live_bar_on_a_terminal(peer: Peer, bell: str) -> None:
    code, written = on_terminal(["run", bell], environment(peer))
    assert code == 0
    assert "SUCCEEDED" in written
    assert "100%" in written
    assert "job 7" in written
    assert "━" in written, "a bar"
    assert "\x1b[36m█" in written, "a histogram in colour"
    assert "0.050 s" not in written, "no lines of events"


def test_bar_of_a_run_without_progress() -> None:
    """One evolution reports no progress: a bar that moves, the time and the estimate replace 0 %."""
    stream = io.StringIO()
    running = Job(id=7, state=RUNNING, device_choice=DeviceChoice(estimated_seconds_p50=12.2, estimated_seconds_p90=70))
    with LiveBoard(stream) as board:
        row = board.row("")
        row(JobEvent(job_id=7, created=Job(id=7)))
        row(JobEvent(job_id=7, state_change=StateChange(to_state=RUNNING, job=running)))
        bar = board._progress.tasks[0]
        assert bar.total is None
        assert bar.fields["said"] == "about 12 s, rarely more than 70 s"
        row(JobEvent(job_id=7, progress=Progress(progress=0.25, message="program 1 of 4")))
        assert (bar.total, bar.completed) == (1.0, 0.25)
        ended = Job(id=7, state=SUCCEEDED, finished_at=Timestamp(seconds=1))
        row(JobEvent(job_id=7, state_change=StateChange(to_state=SUCCEEDED, job=ended)))
        assert bar.finished


def test_no_color(peer: Peer, bell: str) -> None:
    code, written = on_terminal(["run", bell], environment(peer, NO_COLOR="1"))
    assert code == 0
    assert "█" in written
    assert "\x1b[3" not in written
    assert "\x1b[9" not in written


def test_terminal_that_cannot_move_its_cursor(peer: Peer, bell: str) -> None:
    code, written = on_terminal(["run", bell], environment(peer, TERM="dumb"))
    assert code == 0
    assert "   0.050 s  running" in written
    assert "\x1b" not in written


def test_pipe_that_knows_no_bars(peer: Peer, bell: str) -> None:
    done = subprocess.run(
        [*COMMAND, "run", bell], capture_output=True, env=environment(peer, PYTHONIOENCODING="ascii"), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "####" in done.stdout.decode("ascii")


def test_reader_that_closes_the_pipe(peer: Peer, bell: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", bell], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(peer)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(100)


def test_failure_without_colour(peer: Peer, bell: str) -> None:
    peer.events, peer.results = history(FAILED), []
    code, written = on_terminal(["run", bell], environment(peer, NO_COLOR="1"))
    assert code == 1
    assert "Failed: no gate foo" in written
    code, written = on_terminal(["run", bell], environment(peer))
    assert "\x1b[31m\x1b[1mFailed\x1b[0m: no gate foo" in written


def test_demo_where_bars_cannot_be_written(peer: Peer) -> None:
    code = "import sys; from qonduit_client.cli.demo import show_demo; sys.exit(not show_demo(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, peer.target],
        capture_output=True,
        env=environment(peer, PYTHONIOENCODING="ascii"),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b"####" in done.stdout


@pytest.mark.parametrize("json", [False, True])
def test_ctrl_c_leaves_the_job_running_and_shows_how_to_resume(peer: Peer, bell: str, json: bool) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    process = subprocess.Popen(
        [*INTERRUPTIBLE, *COMMAND, "run", bell, *(["--json"] if json else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(peer),
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "job 7 continues" in said
    assert f"qonduit watch 7 --server {peer.target}" in said
    assert f"qonduit cancel 7 --server {peer.target}" in said
    assert "Traceback" not in said
    assert peer.cancelled == []
