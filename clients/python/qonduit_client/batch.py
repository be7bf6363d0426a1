# SPDX-License-Identifier: Apache-2.0
"""Run any number of programs as a batch, in as few jobs as the server's limits allow. For adapters."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.job_pb2 import Job, QueuePlace
from qonduit.v1.system_service_pb2 import ServerLimits
from qonduit_client.client import Client
from qonduit_client.errors import QonduitError
from qonduit_client.job import JobHandle
from qonduit_client.result import Result

#: Bytes of a request that are reserved for other fields than its programs.
RESERVED_BYTES: Final = 64 * 1024
#: Seeds of jobs are 32 bits wide.
_SEEDS: Final = 2**32

#: The state of a batch: the first of these states that any of its jobs has.
_ORDER: Final = ("FAILED", "CANCELLED", "CANCELLING", "RUNNING", "QUEUED", "SUCCEEDED")


class Batch:
    """Jobs that together run a list of programs.

    Attributes:
        handles: the jobs, in the order of the programs.
    """

    def __init__(self, handles: Sequence[JobHandle]) -> None:
        self.handles = list(handles)
        self._results: list[Result] | None = None

    def state(self) -> str:
        """Return the current state; see `joint_state`."""
        return joint_state(handle.state() for handle in self.handles)

    def queue_position(self) -> int | None:
        """Return the number of jobs before the last of these in the server's queue; None if none of them waits."""
        place = last_place(handle.job() for handle in self.handles)
        return place.position if place is not None and place.HasField("position") else None

    @property
    def status(self) -> str:
        """Deprecated: call `state()`."""
        warnings.warn("Batch.status is deprecated: call state()", DeprecationWarning, stacklevel=2)
        return self.state()

    def results(self, timeout: float | None = None) -> list[Result]:
        """Wait for all jobs and return one result per program, in the order of the programs.

        Args:
            timeout: seconds for all of them together.

        Raises:
            JobFailed, JobCancelled: the first job that failed or was cancelled.
            TimedOut: the jobs have not ended in time; they continue.
        """
        if self._results is None:
            found: list[Result] = []
            for handle, left in self._each(timeout):
                found += handle.results(left)
            self._results = found
        return list(self._results)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all jobs have ended, however they ended.

        Raises:
            TimedOut: the jobs have not ended in time; they continue.
        """
        for handle, left in self._each(timeout):
            handle.wait(left)

    def cancel(self) -> None:
        """Cancel all jobs; jobs that have ended do not change."""
        for handle in self.handles:
            handle.cancel()

    def _each(self, timeout: float | None) -> Iterator[tuple[JobHandle, float | None]]:
        deadline = None
        for handle in self.handles:
            clock = handle.clock
            if timeout is not None and deadline is None:
                deadline = clock() + timeout
            yield handle, None if deadline is None else max(0.0, deadline - clock())


def joint_state(states: Iterable[str]) -> str:
    """Return the state of jobs together: "FAILED" or "CANCELLED" if any job is, else that of the slowest job."""
    states = set(states)
    if states == {"QUEUED", "SUCCEEDED"}:
        return "RUNNING"
    return next((state for state in _ORDER if state in states), "SUCCEEDED")


def submit(
    client: Client,
    programs: Sequence[QuantumProgram],
    *,
    device: str,
    shots: int,
    seed: int | None = None,
    **options: Any,
) -> Batch:
    """Run programs in as few jobs as the server's limits allow. Their samples are independent, also with a seed.

    Args:
        client: the connection.
        programs: any number, including none.
        device: "PROVIDER/device".
        shots: per program.
        seed: the seed of simulators, for all programs together; a non-negative integer.
        options: further arguments of `Client.run`.

    Raises:
        QonduitError: the server rejected a job; the jobs submitted before are cancelled.
    """
    handles: list[JobHandle] = []
    try:
        for chunk in chunks_of(programs, client.server_limits()) if programs else []:
            own = None if seed is None else derived_seed(seed, len(handles))
            handles.append(client.run(chunk, device, shots, own, **options))
    except QonduitError:
        Batch(handles).cancel()
        raise
    return Batch(handles)


def chunks_of(programs: Sequence[QuantumProgram], limits: ServerLimits) -> Iterator[list[QuantumProgram]]:
    """Yield the programs in order, in chunks that each fit into one job."""
    chunk: list[QuantumProgram] = []
    room = limits.max_request_bytes - RESERVED_BYTES
    for program in programs:
        size = program.ByteSize() + 16
        if chunk and (len(chunk) >= limits.max_programs or size > room):
            yield chunk
            chunk, room = [], limits.max_request_bytes - RESERVED_BYTES
        chunk.append(program)
        room -= size
    if chunk:
        yield chunk


def derived_seed(seed: int, place: int) -> int:
    """Return the seed of one of several jobs that share a seed: itself for the first, hashes for the others."""
    if seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed}")
    if place == 0 and seed < _SEEDS:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {place}".encode(), digest_size=4).digest())


def last_place(jobs: Iterable[Job]) -> QueuePlace | None:
    """Return the place in the queue of the last of these jobs; None if none of them waits."""
    places = [job.queue for job in jobs if job.HasField("queue")]
    return max(places, key=lambda place: (place.HasField("position"), place.position), default=None)
