# SPDX-License-Identifier: Apache-2.0
"""Runs jobs of the types RUNNER and SAMPLER: circuits with shots, one result for each program and point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import FurtherResult, PointsDone, ProgramPartial, ProgramSucceeded
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.result_pb2 import Result
from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.provider import CompiledCircuit, RunProgress, program_seed
from qonduit_server.worker.circuit_outcomes import SEED_MASK, outcomes_of
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.prepared_programs import PREPARING, Prepared
from qonduit_server.worker.program_cache import CachedProgram
from qonduit_server.worker.reporting import Reporter
from qonduit_server.worker.result_encoding import encode_counts, encode_statevector

if TYPE_CHECKING:
    from qonduit_server.worker.point_circuits import PointCircuits

#: Metadata that describe the counts only; the rest also applies to the statevector.
_OF_SHOTS: Final = frozenset(
    (
        "seed", "method", "run_seconds", "qubits", "helper_qubits", "branches", "floating_point", "approximate",
        "discarded_weight", "fidelity_bound", "max_bond_dimension", "truncation_threshold",
    )
)  # fmt: skip
#: The points of one call of the provider. Fixed, because Aer's seeds within a call depend on the other circuits of it.
_POINTS: Final = 64
#: Points are emitted together for so long, in seconds, or until they have this size in bytes.
_EMIT_SECONDS: Final = 0.25
_EMIT_BYTES: Final = 1024**2
#: Counts of more outcomes are not emitted before the run ends.
_MAX_PARTIAL: Final = 4096
#: Seeds of programs with points are far from each other, because those of points are `SEED_STRIDE` apart.
_PROGRAM_SEEDS: Final = 0x9E3779B97F4A7C15


class CircuitRuns:
    """The run of one task.

    Args:
        preparation: of the task's programs.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._reporter = preparation.reporter
        self._task = preparation.task
        self._number = len(self._task.programs)

    def run(self, ready: Sequence[Prepared]) -> None:
        """Run prepared programs, and emit an outcome of each."""
        failed = self._number - len(ready)
        for first, group in _groups(ready):

            def progressed(done: int, share: float, first: int = first) -> None:
                done += first
                waiting = (len(ready) - done) * PREPARING
                progress = (failed + done + share * (1 - PREPARING) + waiting) / self._number
                self._reporter.progress(progress, "running" if share or self._number > 1 else "")

            if group[0].circuits is not None:
                self._run_points(group[0], group[0].circuits, lambda share: progressed(0, share))
                progressed(1, 0.0)
            else:
                self._run_circuits(first, group, progressed)

    # ---- programs without points

    def _run_circuits(self, first: int, group: Sequence[Prepared], progressed: Callable[[int, float], None]) -> None:
        spec = group[0].spec
        self._reporter.phase("running", group[0].index, group[0].compiled)
        compiled = [each.cached.compiled for each in group]
        done, partial = 0, time.monotonic()
        for outcome in outcomes_of(self._preparation, compiled, spec, program_seed(spec.seed, first)):
            each = group[done]
            if isinstance(outcome, RunProgress):
                progressed(done, outcome.share)
                if outcome.counts is not None and time.monotonic() - partial > _EMIT_SECONDS:
                    partial = time.monotonic()
                    self._emit_counts(each, outcome.counts())
                continue
            if isinstance(outcome, Outcome):
                self._succeed(each, outcome)
            else:
                self._reporter.fail(each.index, outcome, each.cached.circuit)
            done += 1
            progressed(done, 0.0)
            if done < len(group):
                self._reporter.phase("running", group[done].index, group[done].compiled)

    def _emit_counts(self, each: Prepared, counts: Mapping[int, int]) -> None:
        """Emit the counts of the shots that ran so far, unless they are too large for a message."""
        if not counts or len(counts) > _MAX_PARTIAL:
            return
        (found, *_) = self._results(each, each.cached.compiled, Outcome(counts), each.hit, partial=True)
        if not found.result.HasField("buffer"):
            self._reporter.send(program_partial=ProgramPartial(index=each.index, results=[found]))

    def _succeed(self, each: Prepared, outcome: Outcome) -> None:
        try:
            results = self._results(each, each.cached.compiled, outcome, each.hit)
        except Exception as error:  # noqa: BLE001 - see _outcomes
            self._reporter.fail(each.index, error, each.cached.circuit)
        else:
            first, *further = results
            succeeded = ProgramSucceeded(index=each.index, result=first.result, buffer=first.buffer, further=further)
            self._reporter.send(program_succeeded=succeeded)

    # ---- programs with points

    def _run_points(self, each: Prepared, circuits: PointCircuits, progressed: Callable[[float], None]) -> None:
        """Run a program at its points; emit those that are done together, and fail at the first error."""
        self._reporter.phase("running", each.index, each.compiled)
        start = self._task.programs[each.index].points_done
        pending = _PendingPoints(self._reporter, each.index, start)
        # A vendor's outcomes belong to calls, so the calls of earlier points are made again, with their outcomes.
        repeats = hasattr(self._preparation.provider, "begin")
        point = 0 if repeats else start - start % _POINTS
        try:
            for results in self._point_results(each, circuits, point):
                if point >= start and pending.add(results):
                    progressed((point + 1) / each.points)
                point += 1
        except Exception as error:  # noqa: BLE001 - whatever fails, the points before it are kept
            pending.emit()
            self._reporter.fail(each.index, error, each.cached.circuit, point)
        else:
            pending.emit()
            self._reporter.send(program_succeeded=ProgramSucceeded(index=each.index))

    def _point_results(self, each: Prepared, circuits: PointCircuits, start: int) -> Iterator[list[FurtherResult]]:
        """Yield the results of each point from one on. Raises the error of the first point that fails."""
        base = seed_of_points(each.spec.seed, each.index)
        for first in range(start, each.points, _POINTS):
            compiled, failed = _compile_points(circuits, range(first, min(first + _POINTS, each.points)))
            found = outcomes_of(self._preparation, compiled, each.spec, program_seed(base, first))
            outcomes = (outcome for outcome in found if not isinstance(outcome, RunProgress))
            for point, (circuit, outcome) in enumerate(zip(compiled, outcomes, strict=True), start=first):
                if not isinstance(outcome, Outcome):
                    raise outcome
                yield self._results(each, circuit, outcome, hit=each.hit or point > 0, point=point)
            if failed is not None:
                raise failed

    # ---- results

    def _results(
        self,
        each: Prepared,
        compiled: CompiledCircuit,
        outcome: Outcome,
        hit: bool,
        point: int | None = None,
        partial: bool = False,
    ) -> list[FurtherResult]:
        """Return the results of an outcome, each with its buffer; the statevector only of a whole run."""
        cached, max_bytes = each.cached, self._task.max_result_bytes
        found = FurtherResult(result=self._result(each, outcome, hit, point))
        if each.spec.type == JobType.JOB_TYPE_SAMPLER:
            from qonduit_server.worker.sampler_results import encode_distribution

            found.buffer = encode_distribution(found.result, cached.circuit, outcome, each.spec.sampler, max_bytes)
        else:
            found.buffer = encode_counts(found.result, cached.circuit, outcome.counts, max_bytes)
        results = [found]
        if each.spec.include_statevector and not partial:
            results.append(self._statevector(each, compiled, outcome, point))
        if each.spec.include_compiled_circuit and not partial and not point:
            from qonduit_server.worker.compiled_circuits import compiled_result

            results.append(compiled_result(self._preparation, each, point))
        return results

    def _statevector(
        self, each: Prepared, compiled: CompiledCircuit, outcome: Outcome, point: int | None
    ) -> FurtherResult:
        began = time.perf_counter()
        amplitudes = self._preparation.provider.statevector(self._task.device, compiled)
        seconds = time.perf_counter() - began
        further = FurtherResult(result=Result(program_id=self._task.programs[each.index].program_id, point=point))
        metadata = {name: value for name, value in outcome.meta_data.items() if name not in _OF_SHOTS}
        more: dict[str, Any] = {**metadata, "method": "statevector", "run_seconds": seconds}
        further.result.meta_data.update(more)
        self._preparation.provenance.add(further.result, each.index)
        further.buffer = encode_statevector(further.result, amplitudes, self._task.max_result_bytes)
        return further

    def _result(self, each: Prepared, outcome: Outcome, hit: bool, point: int | None) -> Result:
        """Return a result without its entries."""
        result = Result(
            program_id=self._task.programs[each.index].program_id,
            shots=sum(outcome.counts.values()) if outcome.exact is None else 0,
            registers=each.cached.registers,
            point=point,
        )
        result.partial = outcome.exact is None and result.shots < each.spec.shots
        result.meta_data.update(outcome.meta_data)  # type: ignore[arg-type]  # JSON values
        result.meta_data.update(preparation_metadata(each.cached, hit))
        self._preparation.provenance.add(result, each.index)
        return result


class _PendingPoints:
    """The results of points of a program that are done and not yet emitted."""

    def __init__(self, reporter: Reporter, index: int, first: int) -> None:
        self._reporter = reporter
        self._index = index
        self._first = self._next = first
        self._results: list[FurtherResult] = []
        self._size = 0
        self._since = time.monotonic()

    def add(self, results: Sequence[FurtherResult]) -> bool:
        """Add the results of the next point; return whether all were emitted."""
        self._next += 1
        self._results += results
        self._size += sum(result.ByteSize() for result in results)
        if self._size <= _EMIT_BYTES and time.monotonic() - self._since <= _EMIT_SECONDS:
            return False
        self.emit()
        return True

    def emit(self) -> None:
        """Emit all results."""
        if self._results:
            done = PointsDone(index=self._index, first_point=self._first, results=self._results)
            self._reporter.send(points_done=done)
        self._first, self._results, self._size, self._since = self._next, [], 0, time.monotonic()


def preparation_metadata(cached: CachedProgram, hit: bool) -> dict[str, Any]:
    """Return the metadata about reading and compiling that every result carries."""
    return {
        "parse_seconds": 0.0 if hit else cached.parse_seconds,
        "compile_seconds": 0.0 if hit else cached.compile_seconds,
        "from_cache": hit,
        "operations": len(cached.circuit.quantum.data),
    }


def _compile_points(circuits: PointCircuits, points: range) -> tuple[list[CompiledCircuit], Exception | None]:
    """Return the compiled circuits up to the first that fails, and its error."""
    compiled: list[CompiledCircuit] = []
    for point in points:
        try:
            compiled.append(circuits.compiled(point))
        except Exception as error:  # noqa: BLE001 - the caller runs the points before it, then raises this
            return compiled, error
    return compiled, None


def _groups(ready: Sequence[Prepared]) -> Iterator[tuple[int, Sequence[Prepared]]]:
    """Yield the programs that one call of the provider runs, with the place of the first."""
    start = 0
    while start < len(ready):
        end = start + 1
        while (
            ready[start].circuits is None
            and end < len(ready)
            and ready[end].circuits is None
            and _same_call(ready[start].spec, ready[end].spec)
        ):
            end += 1
        yield start, ready[start:end]
        start = end


def _same_call(one: JobSpec, other: JobSpec) -> bool:
    return one is other or (one.shots, one.sampler) == (other.shots, other.sampler)


def seed_of_points(seed: int, index: int) -> int:
    """Return the seed of a program's first point; those of its others follow as those of circuits do."""
    return (seed + index * _PROGRAM_SEEDS) & SEED_MASK
