# SPDX-License-Identifier: Apache-2.0
"""Programs of a task that are ready to run, with their points."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramStarted
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.python.source_runner import MemoryNotGranted
from qonduit_server.providers.provider import CompiledCircuit
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.program_cache import CachedProgram
from qonduit_server.worker.result_encoding import registers_of

if TYPE_CHECKING:
    from qonduit_server.worker.point_circuits import PointCircuits

#: The share of reading and compiling in a job's progress.
PREPARING: Final = 0.1


class ReadyProgram(Protocol):
    """What the programs of all job types have in common once they are read and compiled."""

    @property
    def index(self) -> int:
        """The program's index in the task."""

    @property
    def circuit(self) -> Circuit:
        """The program, at its first point if it has points."""

    @property
    def compiled(self) -> CompiledCircuit:
        """The first circuit of it that the device runs."""

    @property
    def memory_bytes(self) -> int:
        """The memory that a run needs."""

    @property
    def num_circuits(self) -> int:
        """The number of circuits that the device runs."""


Ready = TypeVar("Ready", bound=ReadyProgram)


@dataclass(frozen=True)
class Prepared:
    """A program that is ready to run.

    Args:
        index: its index in the task.
        spec: the job's options with those of the program.
        cached: the program at its first point, if it has points.
        hit: whether it was in the cache.
        points: the number of its points; 0 if it has no parameter sets.
        circuits: its circuits at these points.
    """

    index: int
    spec: JobSpec
    cached: CachedProgram
    hit: bool
    points: int = 0
    circuits: PointCircuits | None = None

    @property
    def circuit(self) -> Circuit:
        """See `ReadyProgram`."""
        return self.cached.circuit

    @property
    def compiled(self) -> CompiledCircuit:
        """See `ReadyProgram`."""
        return self.cached.compiled

    @property
    def memory_bytes(self) -> int:
        """See `ReadyProgram`."""
        return self.cached.compiled.memory_bytes

    @property
    def num_circuits(self) -> int:
        """See `ReadyProgram`."""
        return self.cached.compiled.circuits * max(1, self.points)


def prepare(preparation: Preparation, index: int) -> Prepared:
    """Read and compile a program, at its first point if it has points."""
    spec = preparation.spec(index)
    if spec.HasField("parameter_sets"):
        return _prepare_points(preparation, index)
    cached, hit = preparation.compiled(index)
    return Prepared(index, spec, cached, hit)


def _prepare_points(preparation: Preparation, index: int) -> Prepared:
    from qonduit_server.worker.point_circuits import PointCircuits
    from qonduit_server.worker.program_points import Sweep

    sweep = Sweep(preparation, index)
    circuit = preparation.circuit = sweep.kept_structure("noisy", partial(preparation.with_noise, index))
    preparation.check(index, circuit)
    began = time.perf_counter()
    circuits = PointCircuits(
        preparation, index, sweep, partial(preparation.with_noise, index), preparation.options(index), ("program",)
    )
    seconds = time.perf_counter() - began
    cached = CachedProgram(circuit, circuits.first, registers_of(circuit), sweep.parse_seconds, seconds)
    return Prepared(index, preparation.spec(index), cached, sweep.hit, len(sweep), circuits)


def prepare_all(preparation: Preparation, prepare: Callable[[Preparation, int], Ready]) -> tuple[list[Ready], int]:
    """Prepare all programs; report those that fail.

    Args:
        preparation: of the task.
        prepare: reads and compiles one program of it.

    Returns:
        The programs that may run, and the memory that the largest needs in bytes.
    """
    task, reporter = preparation.task, preparation.reporter
    number = len(task.programs)
    ready: list[Ready] = []
    failed = need = 0
    for index in range(number):
        if not task.declined_before:
            reporter.send(program_started=ProgramStarted(index=index))
        try:
            ready.append(prepare(preparation, index))
        except MemoryNotGranted as short:
            need = max(need, short.memory_bytes)
        except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from running
            reporter.fail(index, error, preparation.circuit)
            failed += 1
        if number > 1:
            reporter.progress((failed + (index + 1 - failed) * PREPARING) / number, "reading and compiling")
    # Programs run one after another: the largest determines the memory.
    return ready, max((need, *(each.memory_bytes for each in ready)))
