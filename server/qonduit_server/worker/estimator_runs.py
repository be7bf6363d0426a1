# SPDX-License-Identifier: Apache-2.0
"""Runs jobs of the type ESTIMATOR: every observable at every point, one result for each program."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramPartial, ProgramSucceeded
from qonduit.v1.result_pb2 import Result
from qonduit_server.estimation.allocation import pilot_shots, second_stage
from qonduit_server.estimation.exact_values import expectation, from_distribution
from qonduit_server.estimation.statistics import Estimates, estimates
from qonduit_server.providers.provider import program_seed
from qonduit_server.worker.circuit_runs import seed_of_points
from qonduit_server.worker.estimator_results import EstimateTable, check_estimates, encode_estimates, encode_terms
from qonduit_server.worker.observed_program import ObservedProgram
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.prepared_programs import PREPARING

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The circuits of one call of the provider. Fixed, because Aer's seeds within a call depend on its other circuits.
_CIRCUITS: Final = 64
#: Estimates so far are emitted at most this often, in seconds.
_EMIT_SECONDS: Final = 0.25
_DEFAULT_LEVEL: Final = 0.95
#: Of a point, on a device without a limit of its own.
_MAX_SHOTS: Final = 10_000_000


class EstimatorRuns:
    """The run of one task.

    Args:
        preparation: of the task's programs.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._reporter = preparation.reporter
        self._task = preparation.task

    def run(self, ready: Sequence[ObservedProgram]) -> None:
        """Run prepared programs, and emit an outcome of each."""
        number = len(self._task.programs)
        for done, program in enumerate(ready):
            waiting = (len(ready) - done - 1) * PREPARING
            failed = number - len(ready)

            def progressed(share: float, done: int = done, waiting: float = waiting, failed: int = failed) -> None:
                own = PREPARING + share * (1 - PREPARING)
                self._reporter.progress((failed + done + own + waiting) / number, "running")

            self._reporter.phase("running", program.index)
            try:
                succeeded = _EstimatorRun(self._preparation, program, progressed).run()
            except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from running
                self._reporter.fail(program.index, error, program.circuit)
            else:
                self._reporter.send(program_succeeded=succeeded)
            progressed(1.0)


class _EstimatorRun:
    """The run of one program."""

    def __init__(self, preparation: Preparation, program: ObservedProgram, progressed: Any) -> None:
        self._preparation = preparation
        self._program = program
        self._progressed = progressed
        self._options = program.spec.estimator
        self._points = len(program.sweep)
        self._number = len(program.sums)
        self._meta_data: dict[str, object] = {}
        self._exact = self._options.exact
        level = self._options.confidence_level if self._options.HasField("confidence_level") else _DEFAULT_LEVEL
        self._level: float = level
        self._parameters: Sequence[str] = program.sweep.names if self._options.gradient else ()
        check_estimates(self._points, self._number, len(self._parameters), preparation.task.max_result_bytes)
        self._sizes = [len(each.coefficients) for each in program.sums]
        self._table = EstimateTable.empty(
            self._points,
            self._number,
            len(self._parameters) if self._options.gradient else None,
            sum(self._sizes) if self._options.per_term else None,
        )
        self._seed = seed_of_points(program.spec, program.index)

    def run(self) -> ProgramSucceeded:
        """Return the outcome of the program."""
        began = emitted = time.monotonic()
        first = 0
        for point in self._evaluated():
            now = time.monotonic()
            if now - emitted > _EMIT_SECONDS and point + 1 < self._points:
                self._emit(first, point + 1)
                first, emitted = point + 1, now
            self._progressed((point + 1) / self._points)
        self._meta_data["run_seconds"] = time.monotonic() - began
        found = self._result(self._table)
        buffer = encode_estimates(found, self._table, self._exact, self._level, self._parameters)
        further = []
        if self._table.terms is not None:
            terms = FurtherResult(result=Result(program_id=found.program_id))
            max_bytes = self._preparation.task.max_result_bytes
            terms.buffer = encode_terms(terms.result, self._table.terms, self._sizes, max_bytes)
            further.append(terms)
        return ProgramSucceeded(index=self._program.index, result=found, buffer=buffer, further=further)

    def _evaluated(self) -> Iterator[int]:
        """Fill in the table; yield each point that is done, in order."""
        if self._exact:
            gradients = self._exact_gradients() if self._options.gradient else None
            for point in range(self._points):
                self._evaluate_exactly(point)
                if gradients is not None:
                    assert self._table.gradients is not None
                    self._table.gradients[point] = gradients(point)
                yield point
        elif self._options.HasField("precision"):
            for point in range(self._points):
                self._record(point, self._reach(point))
                yield point
        else:
            yield from self._sampled()
        if self._options.gradient and not self._exact:
            self._shifted_gradients()

    # ---- exact values

    def _evaluate_exactly(self, point: int) -> None:
        program, table = self._program, self._table
        if program.state:
            state = program.statevector(point)
            table.values[point], table.variances[point] = expectation(state, program.sums)
            if table.terms is not None:
                table.terms[point] = _terms_of_state(state, program.sums)
            self._meta_data.setdefault("method", "statevector")
        else:
            values = np.array(program.grouping.constants, dtype=np.float64)
            for place, group in enumerate(program.grouping.groups):
                moments = from_distribution(program.distribution(point, place), group, self._number)
                values += moments.means
                table.variances[point] += moments.variances
                if table.terms is not None:
                    self._record_parities(point, group.terms, moments.parities)
            table.values[point] = values
            if table.terms is not None:
                for observable, index in enumerate(program.grouping.identities):
                    if index >= 0:
                        table.terms[point, sum(self._sizes[:observable]) + index] = 1.0
            self._meta_data.setdefault("method", "exact probabilities of measured groups")
        table.lower[point] = table.upper[point] = table.values[point]

    def _record_parities(self, point: int, terms: Sequence[Any], parities: Mapping[int, float]) -> None:
        assert self._table.terms is not None
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        for term in terms:
            self._table.terms[point, starts[term.observable] + term.index] = parities[term.support]

    def _exact_gradients(self) -> Any:
        from qonduit_server.worker.gradients import exact_gradients

        return exact_gradients(self._program)

    # ---- sampled values

    def _sampled(self) -> Iterator[int]:
        """Run every group at every point with the job's shots."""
        groups = len(self._program.grouping.groups)
        shots = self._program.spec.shots
        if not groups:
            for point in range(self._points):
                self._record(point, estimates(self._program.grouping, []))
                yield point
            return
        pending: list[Mapping[int, int]] = []
        point = 0
        circuits = [(each, group) for each in range(self._points) for group in range(groups)]
        for first in range(0, len(circuits), _CIRCUITS):
            seed = program_seed(self._seed, first)
            for counts, meta_data in self._program.sample(circuits[first : first + _CIRCUITS], shots, seed):
                self._meta_data = dict(self._meta_data or meta_data)
                pending.append(counts)
                if len(pending) == groups:
                    self._record(point, estimates(self._program.grouping, pending))
                    yield point
                    pending, point = [], point + 1

    def _reach(self, point: int) -> Estimates:
        """Run a point in two stages, so that its estimates have the precision that the job asks for."""
        grouping, precision = self._program.grouping, self._options.precision
        most = self._program.spec.shots or self._preparation.device.max_shots or _MAX_SHOTS
        counts: list[dict[int, int]] = [{} for _ in grouping.groups]
        place = point * 2 * len(counts)
        self._add_shots(point, pilot_shots(grouping, precision, most), counts, place)
        pilot = estimates(grouping, counts)
        self._add_shots(point, second_stage(grouping, pilot, precision, most), counts, place + len(counts))
        return estimates(grouping, counts)

    def _add_shots(self, point: int, shots: Sequence[int], counts: list[dict[int, int]], place: int) -> None:
        """Run the groups of a point with shots of their own each, and add the counts."""
        for group, own in enumerate(shots):
            if own:
                seed = program_seed(self._seed, place + group)
                for found, meta_data in self._program.sample([(point, group)], own, seed):
                    self._meta_data = dict(self._meta_data or meta_data)
                    for outcome, number in found.items():
                        counts[group][outcome] = counts[group].get(outcome, 0) + number

    def _record(self, point: int, found: Estimates) -> None:
        table = self._table
        table.values[point] = found.values
        table.standard_errors[point] = found.standard_errors
        table.variances[point] = found.variances
        table.bounded[point] = found.bounded
        ends = found.confidence_interval(self._level)
        table.lower[point], table.upper[point] = ends[:, 0], ends[:, 1]
        table.shots[point] = self._shots_of(found)
        if table.terms is not None:
            table.terms[point] = np.concatenate(found.term_values())

    def _shots_of(self, found: Estimates) -> NDArray[np.int64]:
        """Return the shots of the groups that have a term of each observable."""
        shots: NDArray[np.int64] = np.zeros(self._number, dtype=np.int64)
        for group, own in zip(self._program.grouping.groups, found.group_shots, strict=True):
            for observable in {term.observable for term in group.terms}:
                shots[observable] += own
        return shots

    def _shifted_gradients(self) -> None:
        from qonduit_server.worker.gradients import shifted_gradients

        assert self._table.gradients is not None
        self._table.gradients[:] = shifted_gradients(self._program, self._seed)

    # ---- results

    def _emit(self, first: int, end: int) -> None:
        """Emit the estimates of points that are done."""
        result = self._result(self._table.part(first, end))
        encode_estimates(result, self._table.part(first, end), self._exact, self._level, self._parameters)
        result.ClearField("buffer")
        partial = ProgramPartial(index=self._program.index, first_point=first, results=[result])
        self._preparation.reporter.send(program_partial=partial)

    def _result(self, table: EstimateTable) -> Result:
        result = Result(
            program_id=self._preparation.task.programs[self._program.index].program_id,
            shots=int(table.shots.max(initial=0)),
        )
        more: dict[str, Any] = {
            **self._meta_data,
            "parse_seconds": self._program.sweep.parse_seconds,
            "circuits": self._program.num_circuits,
            "groups": len(self._program.grouping.groups),
        }
        result.meta_data.update(more)
        return result


def _terms_of_state(state: NDArray[np.complex128], sums: Sequence[Any]) -> NDArray[np.float64]:
    from qonduit_server.pauli_sums import PauliSum

    singles = [PauliSum((1.0,), (x,), (z,)) for each in sums for x, z in zip(each.x_masks, each.z_masks, strict=True)]
    return expectation(state, singles)[0]
