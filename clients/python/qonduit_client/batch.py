# SPDX-License-Identifier: Apache-2.0
"""Any number of programs, run as few jobs as the server's limits allow, and seen as one. For adapters."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.system_service_pb2 import ServerLimits
from qonduit_client.client import Client
from qonduit_client.errors import QonduitError
from qonduit_client.job import JobHandle
from qonduit_client.result import Result

#: Bytes of a request that are not its programs'.
_ROOM: Final = 64 * 1024
#: Seeds of jobs are 32 bits wide.
_SEEDS: Final = 2**32

#: What a batch is as a whole: the first of these that any of its jobs is.
_ORDER: Final = ("FAILED", "CANCELLED", "CANCELLING", "RUNNING", "QUEUED", "SUCCEEDED")


class Batch:
    """Jobs that together ran a list of programs.

    Attributes:
        handles: the jobs, in the order of the programs.
    """

    def __init__(self, handles: Sequence[JobHandle]) -> None:
        self.handles = list(handles)
        self._results: list[Result] | None = None

    def state(self) -> str:
        """Ask for the state: "FAILED" or "CANCELLED" as soon as one job is, else that of the job furthest behind."""
        states = {handle.state() for handle in self.handles}
        if states == {"QUEUED", "SUCCEEDED"}:
            return "RUNNING"
        return next((state for state in _ORDER if state in states), "SUCCEEDED")

    @property
    def status(self) -> str:
        """Deprecated: call `state()`."""
        warnings.warn("Batch.status is deprecated: call state()", DeprecationWarning, stacklevel=2)
        return self.state()

    def results(self, timeout: float | None = None) -> list[Result]:
        """Wait for all jobs and return one result a program, in the order of the programs.

        Args:
            timeout: seconds for all of them together.

        Raises:
            JobFailed, JobCancelled: of the first job that did.
            TimedOut: they had not ended by then. They go on.
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
            TimedOut: they had not ended by then. They go on.
        """
        for handle, left in self._each(timeout):
            handle.wait(left)

    def cancel(self) -> None:
        """Asks for all jobs to be cancelled; those that have ended stay as they are."""
        for handle in self.handles:
            handle.cancel()

    def _each(self, timeout: float | None) -> Iterator[tuple[JobHandle, float | None]]:
        deadline = None
        for handle in self.handles:
            clock = handle.clock
            if timeout is not None and deadline is None:
                deadline = clock() + timeout
            yield handle, None if deadline is None else max(0.0, deadline - clock())


def submit(
    client: Client,
    programs: Sequence[QuantumProgram],
    *,
    device: str,
    shots: int,
    seed: int | None = None,
    **options: Any,
) -> Batch:
    """Run programs as few jobs as the server's limits allow. Each has randomness of its own, also with a seed.

    Args:
        client: the connection.
        programs: in any number, also none.
        device: "PROVIDER/device".
        shots: of each program.
        seed: fixes the randomness of simulators, for all programs together. Any whole number that is not negative.
        options: further ones of `Client.run`.

    Raises:
        QonduitError: the server refused; what had been submitted is cancelled.
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
    """Yield the programs in order, as many at a time as one job may have."""
    chunk: list[QuantumProgram] = []
    room = limits.max_request_bytes - _ROOM
    for program in programs:
        size = program.ByteSize() + 16
        if chunk and (len(chunk) >= limits.max_programs or size > room):
            yield chunk
            chunk, room = [], limits.max_request_bytes - _ROOM
        chunk.append(program)
        room -= size
    if chunk:
        yield chunk


def derived_seed(seed: int, place: int) -> int:
    """Return the seed of one of several jobs that share one: itself for the first, unrelated ones after it."""
    if seed < 0:
        raise ValueError(f"a seed is a whole number that is not negative, not {seed}")
    if place == 0 and seed < _SEEDS:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {place}".encode(), digest_size=4).digest())
