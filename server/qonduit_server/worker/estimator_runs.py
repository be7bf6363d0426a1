# SPDX-License-Identifier: Apache-2.0
"""Runs jobs of the type ESTIMATOR: every observable at every point, one result for each program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramPartial, ProgramSucceeded
from qonduit.v1.result_pb2 import Result
from qonduit_server.worker.circuit_outcomes import SEED_MASK
from qonduit_server.worker.circuit_runs import seed_of_points
from qonduit_server.worker.estimator_results import EstimateTable, check_estimates, encode_estimates, encode_terms
from qonduit_server.worker.observable_evaluation import Evaluation, ExactValues
from qonduit_server.worker.observed_program import ObservedProgram
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.prepared_programs import PREPARING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.estimation.adjoint import PointGradients
    from qonduit_server.worker.vendor_evaluation import VendorEvaluation

#: Estimates so far are emitted at most this often, in seconds.
_EMIT_SECONDS: Final = 0.25
#: Of a point, on a device without a limit of its own.
_MAX_SHOTS: Final = 10_000_000
#: Seeds of the evaluations for gradients are far from those of the values.
_GRADIENT_SEEDS: Final = 0x2545F4914F6CDD1D


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
        failed = number - len(ready)
        for done, program in enumerate(ready):
            waiting = (len(ready) - done - 1) * PREPARING

            def progressed(share: float, before: float = failed + done + waiting) -> None:
                self._reporter.progress((before + PREPARING + share * (1 - PREPARING)) / number, "running")

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

    def __init__(self, preparation: Preparation, program: ObservedProgram, progressed: Callable[[float], None]) -> None:
        self._preparation = preparation
        self._program = program
        self._progressed = progressed
        self._options = program.spec.estimator
        self._shots = program.spec.shots
        if self._options.HasField("precision"):
            self._shots = self._shots or preparation.device.max_shots or _MAX_SHOTS
        self._points = len(program.sweep)
        self._parameters: Sequence[str] = program.sweep.names if self._options.gradient else ()
        max_bytes = preparation.task.max_result_bytes
        check_estimates(self._points, len(program.sums), len(self._parameters), max_bytes)
        self._table = EstimateTable.empty(
            self._points,
            len(program.sums),
            len(self._parameters) if self._options.gradient else None,
            sum(len(each.coefficients) for each in program.sums) if self._options.per_term else None,
        )
        self._seed = None if self._options.exact else seed_of_points(program.spec.seed, program.index)
        self._emitted = time.monotonic()
        self._first = 0
        stop_at = program.spec.stop_when.standard_error
        self._evaluation: Evaluation | VendorEvaluation
        if program.spec.vendor_options.HasField("resilience_level"):
            self._evaluation = self._at_vendor()
            return
        self._evaluation = Evaluation(
            program.circuits,
            self._options,
            self._shots,
            self._seed,
            self._table,
            stop_at,
            self._emit_late,
            self._adjoint_values if program.shares_states else None,
        )

    def _at_vendor(self) -> VendorEvaluation:
        """Return the evaluation by the vendor's own estimator."""
        from qonduit_server.worker.vendor_evaluation import VendorEvaluation

        remote = self._preparation.remote
        assert remote is not None  # no device on this machine has one
        program, device = self._program, self._preparation.task.device
        return VendorEvaluation(remote, device, program.circuits, program.spec, self._table)

    def run(self) -> ProgramSucceeded:
        """Return the outcome of the program."""
        began = time.monotonic()
        gradients = self._gradients() if self._options.gradient and not self._program.shares_states else None
        for point in self._evaluation.run():
            if gradients is not None and self._table.gradients is not None:
                self._table.gradients[point] = gradients(point)
            if point + 1 < self._points and self._emit_late(point):
                self._first = point + 1
            self._progressed((point + 1) / self._points)
        seconds = time.monotonic() - began
        found = self._result(self._table, run_seconds=seconds)
        level, exact = self._evaluation.level, self._options.exact
        buffer = encode_estimates(found, self._table, exact, level, self._parameters)
        return ProgramSucceeded(index=self._program.index, result=found, buffer=buffer, further=self._further())

    def _further(self) -> list[FurtherResult]:
        found = self._terms()
        if self._program.spec.include_compiled_circuit:
            from qonduit_server.worker.compiled_circuits import compiled_result

            found.append(compiled_result(self._preparation, self._program, None))
        return found

    def _terms(self) -> list[FurtherResult]:
        if self._table.terms is None:
            return []
        terms = FurtherResult(result=self._result(self._table))
        sizes = [len(each.coefficients) for each in self._program.sums]
        max_bytes = self._preparation.task.max_result_bytes
        terms.buffer = encode_terms(terms.result, self._table.terms, sizes, max_bytes)
        return [terms]

    # ---- gradients

    def _gradients(self) -> Callable[[int], NDArray[np.float64]]:
        """Return a function from points to gradients, observables x parameters."""
        if not self._program.circuits.state:
            return self._shifted
        return self._adjoint

    def _adjoint_values(self, points: Sequence[int]) -> Iterator[ExactValues]:
        """Yield the exact values at each point, and store the gradients that are computed with them."""
        assert self._table.gradients is not None
        for point in points:
            found = self._adjoint_at(point)
            self._table.gradients[point] = found.derivatives
            yield ExactValues(found.state, found.values, found.variances)

    def _adjoint(self, point: int) -> NDArray[np.float64]:
        return self._adjoint_at(point).derivatives

    def _adjoint_at(self, point: int) -> PointGradients:
        return self._program.adjoint.gradients(self._program.sweep.values[point].tolist(), self._program.sums)

    def _shifted(self, point: int) -> NDArray[np.float64]:
        """Return gradients by parameter shift: the values at further points."""
        circuits, shift = self._program.shifted(point), self._program.shift
        table = EstimateTable.empty(shift.num_evaluations, len(self._program.sums), None, None)
        seed = None if self._seed is None else (self._seed + (1 + point) * _GRADIENT_SEEDS) & SEED_MASK
        for _ in Evaluation(circuits, self._options, self._shots, seed, table).run():
            pass
        return shift.gradients(self._program.sweep.values[point].tolist(), table.values)

    # ---- results

    def _emit_late(self, point: int) -> bool:
        """Emit the estimates up to a point if the last ones were emitted long enough ago; return whether they were."""
        now = time.monotonic()
        if now - self._emitted <= _EMIT_SECONDS:
            return False
        self._emit(self._first, point + 1)
        self._emitted = now
        return True

    def _emit(self, first: int, end: int) -> None:
        """Emit the estimates of some points, unless they are too large for a message."""
        part = self._table.part(first, end)
        result = self._result(part)
        result.partial = True
        encode_estimates(result, part, self._options.exact, self._evaluation.level, self._parameters)
        if not result.HasField("buffer"):
            result.point = first
            partial = ProgramPartial(
                index=self._program.index, first_point=first, results=[FurtherResult(result=result)]
            )
            self._preparation.reporter.send(program_partial=partial)

    def _result(self, table: EstimateTable, **meta_data: float) -> Result:
        result = Result(
            program_id=self._preparation.task.programs[self._program.index].program_id,
            shots=int(table.shots.max(initial=0)),
            partial=self._evaluation.stopped,
        )
        more: dict[str, Any] = {
            **self._evaluation.meta_data,
            "parse_seconds": self._program.sweep.parse_seconds,
            "groups": len(self._program.circuits.grouping.groups),
            **meta_data,
        }
        if self._seed is not None:
            more["seed"] = self._program.spec.seed
        if self._program.spec.simulation.floating_point == "single":
            more["floating_point"] = "single"
        result.meta_data.update(more)
        self._preparation.provenance.add(result, self._program.index)
        return result
