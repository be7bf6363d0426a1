# SPDX-License-Identifier: Apache-2.0
"""Arm the points in processes that already run, and report the calls that were hit."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from qonduit.v1.job_service_pb2 import CreateJobRequest
from tests.e2e.faults.points import POINTS, REFUSED, KillPoint, named
from tests.e2e.faults.submitting import submit

#: A worker that is stopped here has reported that its job runs, and does not report the result that it has.
MIDDLE: Final = named("result-not-made")
_DEADLY = Path(__file__).with_name("deadly")


class Trap:
    """The pipes of all points; processes started with `environment` are killed by them.

    Args:
        folder: for the pipes; is created.
        hit: called with the point and the process id, in a separate thread, just before the call is hit.
    """

    def __init__(self, folder: Path, hit: Callable[[str, int], None], points: Iterable[KillPoint] = POINTS) -> None:
        folder.mkdir(parents=True)
        listed = list(points)
        self._folder = folder
        self._hit = hit
        # Open for both, so that no pipe is ever without a reader or a writer.
        self._pipes = {point.name: self._pipe(point.name) for point in listed}
        self._hits = self._pipe("hits", blocking=True)
        (folder / "points.json").write_text(json.dumps([asdict(point) for point in listed]))
        self._listener = threading.Thread(target=self._listen, name="trap", daemon=True)
        self._listener.start()

    def _pipe(self, name: str, *, blocking: bool = False) -> int:
        path = self._folder / name
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | (0 if blocking else os.O_NONBLOCK))

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that arm the points in a process."""
        path = [str(_DEADLY), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"DEADLY": str(self._folder), "PYTHONPATH": os.pathsep.join(path)}

    def arm(self, name: str, n: int = 1, action: str = "K") -> None:
        """Arm the n-th next call of this point: kill ("K") or stop ("S") its process, or only report it ("T")."""
        self.disarm(name)
        os.write(self._pipes[name], b"." * (n - 1) + action.encode())

    def disarm(self, name: str) -> None:
        """Disarm this point."""
        try:
            os.read(self._pipes[name], 65536)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the pipes."""
        os.write(self._hits, b"closed 0\n")
        self._listener.join(100)
        for pipe in (*self._pipes.values(), self._hits):
            os.close(pipe)

    def _listen(self) -> None:
        received = b""
        while True:
            received += os.read(self._hits, 65536)
            *lines, received = received.split(b"\n")
            for line in lines:
                name, pid = line.decode().split()
                if name == "closed":
                    return
                self._hit(name, int(pid))


class RecordingTrap:
    """A trap whose hits a test waits for, so that it acts at exactly that moment of a job, however busy the machine is.

    Args:
        folder: for the pipes; is created.
    """

    def __init__(self, folder: Path) -> None:
        self._hits: SimpleQueue[tuple[str, int]] = SimpleQueue()
        self._trap = Trap(folder, lambda name, pid: self._hits.put((name, pid)), (*POINTS, REFUSED))
        self.environment = self._trap.environment
        self.arm = self._trap.arm
        self.close = self._trap.close

    def wait(self, name: str) -> int:
        """Wait until a process hits a point; return its process id."""
        hit, pid = self._hits.get(timeout=100)
        assert hit == name
        return pid

    def submit_and_stop(self, target: str, request: CreateJobRequest) -> tuple[int, int]:
        """Queue a job, wait until its worker has stopped in the middle of it; return the job's and the process's id.

        The server must have been started with `environment`, and no other job may run on it.
        """
        self.arm(MIDDLE.name, action="S")
        job_id = submit(target, request)
        return job_id, self.wait(MIDDLE.name)
