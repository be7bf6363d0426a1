# SPDX-License-Identifier: Apache-2.0
"""One server a SQLite file: real processes, other names of the file, and the modes of files on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc

from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2 import RunJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.contract.rpc_fixture import bell
from tests.server_process import Server, serving
from tests.warm_workers import REAL_WORKERS

QONDUIT = [sys.executable, "-m", "qonduit_server"]


def second(file: Path) -> subprocess.CompletedProcess[str]:
    """Start a server that must end at once."""
    command = [*QONDUIT, "serve", "--listen", "127.0.0.1:0", "--database", f"sqlite:///{file}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def open_files(pid: int) -> list[str]:
    """Return the files that a process has open."""
    return [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]


def run(server: Server, request: RunJobRequest) -> list[JobState]:
    """Run a job; return the states that it took. How many other events it has depends on the load of the machine."""
    with grpc.insecure_channel(server.target) as channel:
        events = [reply.event for reply in JobServiceStub(channel).RunJob(request, timeout=120)]
    return [event.state_change.to_state for event in events if event.HasField("state_change")]


def test_a_second_server_is_refused_under_any_file_name_and_the_files_are_private(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    file = folder / "q.sqlite3"
    with serving(f"sqlite:///{file}", environment=REAL_WORKERS, providers="IBM", workers="1") as server:
        history = run(server, bell())
        assert history == [JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_SUCCEEDED]
        for made in folder.iterdir():
            assert made.stat().st_mode & 0o777 == 0o600, made
        assert {made.name for made in folder.iterdir()} == {
            f"q.sqlite3{end}" for end in ("", "-wal", "-shm", "-server.lock")
        }

        # Fork server and workers are children of the server: none of them may hold the lock after it has ended.
        main, *children = server.family()
        assert str(file) in open_files(main)
        assert children
        for child in children:
            assert not [name for name in open_files(child) if name.startswith(str(folder))]

        (elsewhere / "link.sqlite3").symlink_to(file)
        Path(f"{file}-server.lock").unlink()
        for name in (elsewhere / "link.sqlite3", file):
            refused = second(name)
            assert refused.returncode == 1
            assert "another server uses" in refused.stderr, refused.stderr
            assert "Traceback" not in refused.stderr
        assert run(server, bell()) == history  # no job was requeued meanwhile

        copy = elsewhere / "copy.sqlite3"
        subprocess.run([*QONDUIT, "backup", str(copy), "--database", f"sqlite:///{file}"], check=True, timeout=120)
        assert copy.stat().st_mode & 0o777 == 0o600

        # A killed server leaves no lock behind, though its children may live a moment longer.
        server.process.kill()
        server.process.wait()
        with serving(f"sqlite:///{elsewhere / 'link.sqlite3'}", providers="IBM", workers="1") as next_server:
            assert run(next_server, bell())
