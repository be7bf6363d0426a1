# SPDX-License-Identifier: Apache-2.0
"""A program whose observables are estimated: its circuits at its points, and what a device returns for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from qonduit_server.errors import ProgramError, RunError
from qonduit_server.estimation.grouping import Group, Grouping, basis_changes, grouping
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.observed import measured_in, measurements, without_final_measurements
from qonduit_server.job_type_rules import observable
from qonduit_server.pauli_sums import PauliSum, PauliSumError
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions, RunProgress
from qonduit_server.worker.point_circuits import PointCircuits
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.program_points import Sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ObservedProgram:
    """One program of an ESTIMATOR job.

    Args:
        preparation: reads and compiles.
        index: of the program.

    Attributes:
        sums: the observables.
        circuit: the program at its first point, without its final measurements, with the noise of the job.
        state: whether exact values come from a statevector.
    """

    def __init__(self, preparation: Preparation, index: int) -> None:
        self._preparation = preparation
        self.index = index
        self.spec = preparation.spec(index)
        self.sweep = Sweep(preparation, index)
        self.sums = _observables(self.spec.estimator.observables)
        self.circuit = self.bare(self.sweep.circuit(0))
        preparation.circuit = self.circuit
        preparation.check(index, self.circuit)
        _check_qubits(self.sums, self.circuit.quantum.num_qubits)
        self.state = False
        self._evolution: PointCircuits | None = None
        self._groups: list[PointCircuits] = []
        self.grouping = Grouping((), (), (), ())
        if self.spec.estimator.exact:
            self._evolution = self._compile_evolution()
            self.state = self._evolution is not None
        if not self.state:
            self.grouping = grouping(self.sums)
            self._groups = [self._compile_group(group) for group in self.grouping.groups]

    @property
    def compiled(self) -> CompiledCircuit:
        """See `ReadyProgram`; observables without a measured term need no circuit."""
        return next((each.first for each in self._circuits), CompiledCircuit(None, self.circuit.quantum.num_qubits))

    @property
    def memory_bytes(self) -> int:
        """See `ReadyProgram`."""
        return max((each.first.memory_bytes for each in self._circuits), default=0)

    @property
    def num_circuits(self) -> int:
        """See `ReadyProgram`."""
        return len(self.sweep) * len(self._circuits)

    @property
    def _circuits(self) -> list[PointCircuits]:
        return self._groups if self._evolution is None else [self._evolution]

    def statevector(self, point: int) -> NDArray[np.complex128]:
        """Return the exact state at a point; bit k of an index is qubit k."""
        assert self._evolution is not None
        compiled = self._evolution.compiled(point)
        return self._preparation.provider.statevector(self._preparation.task.device, compiled)

    def distribution(self, point: int, group: int) -> Mapping[int, float]:
        """Return the exact distribution of a group's outcomes; bit k is qubit k.

        Raises:
            ProgramError: reason NO_EXACT_VALUES.
        """
        compiled = self._groups[group].compiled(point)
        found = self._preparation.provider.probabilities(self._preparation.task.device, compiled)
        if found is None:
            raise ProgramError(
                "NO_EXACT_VALUES",
                f"{self._preparation.device_name} has no exact values of this program: its outcomes must be sampled. "
                "Submit the job with shots or estimator.precision, and without estimator.exact",
            )
        return self._observed(found)

    def sample(
        self, circuits: Sequence[tuple[int, int]], shots: int, seed: int | None
    ) -> Iterator[tuple[Mapping[int, int], Mapping[str, object]]]:
        """Run circuits with shots; yield the counts of each, and the metadata of its run.

        Args:
            circuits: points and groups.
            shots: of each circuit.
            seed: of the first circuit.

        Raises:
            RunError: a circuit failed.
        """
        preparation = self._preparation
        compiled = [self._groups[group].compiled(point) for point, group in circuits]
        for outcome in preparation.provider.run(preparation.task.device, compiled, shots, seed):
            if isinstance(outcome, Outcome):
                yield self._observed(outcome.counts), outcome.meta_data
            elif isinstance(outcome, RunError):
                raise outcome
            else:
                assert isinstance(outcome, RunProgress)

    def _observed(self, outcomes: Mapping[int, Any]) -> dict[int, Any]:
        before = self.circuit.quantum.num_clbits
        if not before:
            return dict(outcomes)
        observed: dict[int, Any] = {}
        for outcome, share in outcomes.items():
            key = outcome >> before
            observed[key] = observed.get(key, 0) + share
        return observed

    def bare(self, circuit: Circuit) -> Circuit:
        """Return a circuit without its final measurements, with the noise of the job."""
        return self._preparation.with_noise(self.index, without_final_measurements(circuit))

    def _compile_evolution(self) -> PointCircuits | None:
        """Return the program compiled for its exact state; None if it has none on this device."""
        if not self._preparation.device.capabilities.statevector and self._preparation.device.name:
            return None
        options = replace(self._options(), statevector=True)
        try:
            return PointCircuits(self._preparation, self.index, self.sweep, self.bare, options)
        except ProgramError as error:
            if error.reason != "NO_STATEVECTOR":
                raise
            return None

    def _compile_group(self, group: Group) -> PointCircuits:
        change = partial(self._measured, group)
        return PointCircuits(self._preparation, self.index, self.sweep, change, self._options())

    def _measured(self, group: Group, circuit: Circuit) -> Circuit:
        return measured_in(self.bare(circuit), basis_changes(group), group.support, self._readout)

    def _options(self) -> CompileOptions:
        return self._preparation.options(self.index)

    @cached_property
    def _readout(self) -> Circuit | None:
        """Measurements of all qubits with the readout errors of the job's noise model."""
        if not self.spec.HasField("noise_model"):
            return None
        return self._preparation.with_noise(self.index, measurements(self.circuit.quantum.num_qubits))


def _observables(messages: Sequence[Any]) -> list[PauliSum]:
    found = []
    for place, message in enumerate(messages):
        try:
            found.append(observable(message))
        except PauliSumError as error:
            raise ProgramError("INVALID_OBSERVABLE", f"job.estimator.observables[{place}]: {error}") from error
    return found


def _check_qubits(sums: Sequence[PauliSum], qubits: int) -> None:
    for place, each in enumerate(sums):
        if each.num_qubits > qubits:
            known = f"it has {qubits}, 0 to {qubits - 1}" if qubits else "it has none"
            raise ProgramError(
                "INVALID_OBSERVABLE",
                f"job.estimator.observables[{place}] acts on qubit {each.num_qubits - 1} of the program: {known}",
            )
