# SPDX-License-Identifier: Apache-2.0
"""A program whose observables are estimated: its circuits at its points, and what a device returns for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from qonduit_server.errors import ProgramError, RunError
from qonduit_server.estimation.angles import NotDifferentiable
from qonduit_server.estimation.grouping import Group, Grouping, basis_changes, grouping
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.noise import has_noise
from qonduit_server.ir.observed import measured_in, measurements, without_final_measurements
from qonduit_server.ir.parameters import Binder
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.job_type_rules import observable
from qonduit_server.pauli_sums import PauliSum, PauliSumError
from qonduit_server.providers.provider import CompiledCircuit, RunProgress
from qonduit_server.worker.point_circuits import PointCircuits, Points
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.program_points import Sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.estimation.adjoint import AdjointCircuit
    from qonduit_server.estimation.parameter_shift import ParameterShift

#: A change of a program's circuit before it is compiled.
Change = Callable[[Circuit], Circuit]


class ObservedCircuits:
    """The circuits that a device runs to estimate observables at points.

    Args:
        preparation: compiles.
        index: of the program.
        points: of the circuits.
        bare: returns a circuit without its final measurements, with the noise of the job.
        structure: what it returns, apart from angles of gates.
        observables: the observables.
        part: names the circuits among those of the program; see `Preparation.kept`.

    Attributes:
        sums: the observables.
        state: whether values come from circuits without measurements: from a statevector, or a vendor's estimator.
        grouping: the groups of terms that are measured together, unless `state`.
    """

    def __init__(
        self,
        preparation: Preparation,
        index: int,
        points: Points,
        bare: Change,
        structure: Circuit,
        observables: Observables,
        part: str,
    ) -> None:
        self._preparation = preparation
        self._index = index
        self._bare = bare
        self._structure = structure
        self._part = part
        self.points = points
        self.sums = observables.sums
        first = structure.quantum
        self._own_bits, self._qubits = first.num_clbits, first.num_qubits
        spec = preparation.spec(index)
        self._evolution = self._compile_evolution() if spec.estimator.exact else None
        if spec.vendor_options.HasField("resilience_level"):
            self._evolution = self._compile_unmeasured()
        self.state = self._evolution is not None
        self.grouping = Grouping((), (), (), ()) if self.state else observables.grouping
        self._groups = [self._compile_group(group) for group in self.grouping.groups]

    @property
    def all(self) -> list[PointCircuits]:
        """The circuits: one of a state, or one of each group."""
        return self._groups if self._evolution is None else [self._evolution]

    def unmeasured(self, points: Sequence[int]) -> Sequence[CompiledCircuit]:
        """Return the circuits without measurements at points."""
        assert self._evolution is not None
        return [self._evolution.compiled(point) for point in points]

    def statevectors(self, points: Sequence[int]) -> Iterator[NDArray[np.complex128]]:
        """Yield the exact states at points; bit k of an index is qubit k."""
        assert self._evolution is not None
        compiled = self.unmeasured(points)
        return self._preparation.provider.statevectors(self._preparation.task.device, compiled)

    def distributions(self, points: Sequence[int], group: int) -> Iterator[Mapping[int, float]]:
        """Yield the exact distributions of a group's outcomes at points; bit k is qubit k.

        Raises:
            ProgramError: reason NO_EXACT_VALUES.
        """
        compiled = [self._groups[group].compiled(point) for point in points]
        preparation = self._preparation
        for found in preparation.provider.exact_distributions(preparation.task.device, compiled):
            if found is None:
                raise ProgramError(
                    "NO_EXACT_VALUES",
                    f"{preparation.device_name} has no exact values of this program: its outcomes must be sampled. "
                    "Submit the job with shots or estimator.precision, and without estimator.exact",
                )
            yield self._observed(found)

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
        """Return outcomes of the bits behind those of the program."""
        if not self._own_bits:
            return dict(outcomes)
        observed: dict[int, Any] = {}
        for outcome, share in outcomes.items():
            key = outcome >> self._own_bits
            observed[key] = observed.get(key, 0) + share
        return observed

    def _compile_evolution(self) -> PointCircuits | None:
        """Return the program compiled for its exact state; None if its values are not those of one on this device."""
        device = self._preparation.device
        if device.name and not device.capabilities.statevector:
            return None
        if self._readout is not None and has_noise(self._readout.quantum):
            return None
        try:
            return self._compile_unmeasured()
        except ProgramError as error:
            if error.reason != "NO_STATEVECTOR":
                raise
            return None

    def _compile_unmeasured(self) -> PointCircuits:
        options = replace(self._preparation.options(self._index), statevector=True)
        return PointCircuits(
            self._preparation, self._index, self.points, self._bare_circuit, options, (self._part, "state")
        )

    def _bare_circuit(self, circuit: Circuit) -> Circuit:
        return self._structure if circuit is self.points.symbolic else self._bare(circuit)

    def _compile_group(self, group: Group) -> PointCircuits:
        change = partial(self._measured, group)
        options = self._preparation.options(self._index)
        part = (self._part, *basis_changes(group), group.support)
        return PointCircuits(self._preparation, self._index, self.points, change, options, part)

    def _measured(self, group: Group, circuit: Circuit) -> Circuit:
        return measured_in(self._bare_circuit(circuit), basis_changes(group), group.support, self._readout)

    @cached_property
    def _readout(self) -> Circuit | None:
        """Measurements of all qubits with the readout errors of the job's noise model."""
        if not self._preparation.spec(self._index).HasField("noise_model"):
            return None
        return self._preparation.with_noise(self._index, measurements(self._qubits))


class Observables:
    """The observables of a job.

    Args:
        messages: as the job has them.
    """

    def __init__(self, messages: Sequence[Any]) -> None:
        self.sums = _observables(messages)

    @cached_property
    def grouping(self) -> Grouping:
        """The groups of terms that are measured together."""
        return grouping(self.sums)


class ObservedProgram:
    """One program of an ESTIMATOR job.

    Args:
        preparation: reads and compiles.
        index: of the program.

    Attributes:
        sweep: its points.
        sums: the observables.
        circuit: the program without its final measurements, with the noise of the job: with parameters where
            possible, else at its first point.
        circuits: its circuits.
    """

    def __init__(self, preparation: Preparation, index: int) -> None:
        self._preparation = preparation
        self.index = index
        self.spec = preparation.spec(index)
        self.sweep = Sweep(preparation, index)
        observables = self._observables = self._kept_observables()
        self.sums = observables.sums
        self.circuit = self.sweep.kept_structure("bare", self.bare)
        preparation.circuit = self.circuit
        preparation.check(index, self.circuit)
        _check_qubits(self.sums, self.circuit.quantum.num_qubits)
        self.circuits = ObservedCircuits(
            preparation, index, self.sweep, self.bare, self.circuit, observables, "program"
        )
        if self.spec.estimator.gradient:
            self._check_gradient()

    def _check_gradient(self) -> None:
        """Reject a program without a gradient before it runs. Raises NotDifferentiable."""
        try:
            symbolic = self.symbolic
            self._preparation.kept(self.index, ("differentiable",), lambda: _check_differentiable(symbolic))
            self.adjoint if self.circuits.state else self.shift  # noqa: B018 - made here, and used by the run
        except NotDifferentiable as error:
            raise NotDifferentiable(f"job.estimator.gradient: {error.message}") from error

    def _kept_observables(self) -> Observables:
        messages = self.spec.estimator.observables
        digest = hashlib.sha256(b"".join(each.SerializeToString(deterministic=True) + b"\0" for each in messages))
        part = ("observables", digest.digest(), len(messages))
        return self._preparation.kept(self.index, part, lambda: Observables(messages))[0]

    @property
    def shares_states(self) -> bool:
        """Whether values come from the states of the gradients: the device would compute the same ones again.

        Not for single precision, which a job asks for and its result names.
        """
        single = self.spec.simulation.floating_point == "single"
        return self.spec.estimator.gradient and self.spec.estimator.exact and self.circuits.state and not single

    @property
    def compiled(self) -> CompiledCircuit:
        """See `ReadyProgram`; observables without a measured term need no circuit."""
        return self._compiled[0] if self._compiled else CompiledCircuit(None, self.circuit.quantum.num_qubits)

    @property
    def memory_bytes(self) -> int:
        """See `ReadyProgram`."""
        return max((each.memory_bytes for each in self._compiled), default=0)

    @cached_property
    def _compiled(self) -> list[CompiledCircuit]:
        """The circuits of the first point; their templates, where no device runs them and no result shows them."""
        unused = self.shares_states and not self.spec.include_compiled_circuit
        return [each.template if each.template is not None and unused else each.first for each in self.circuits.all]

    @property
    def num_circuits(self) -> int:
        """See `ReadyProgram`."""
        evaluations = self.shift.num_evaluations if self.spec.estimator.gradient and not self.circuits.state else 1
        return len(self.sweep) * len(self.circuits.all) * evaluations

    def bare(self, circuit: Circuit) -> Circuit:
        """Return a circuit without its final measurements, with the noise of the job."""
        return self._preparation.with_noise(self.index, without_final_measurements(circuit))

    @cached_property
    def symbolic(self) -> Circuit:
        """The program with parameters, without its final measurements, with the noise of the job.

        Raises:
            NotDifferentiable: the parameters decide more than the angles of gates.
        """
        if self.sweep.symbolic is None:
            raise NotDifferentiable(
                "the program has no gradient: its parameters decide more than the angles of its gates"
            )
        return self.circuit

    @cached_property
    def shift(self) -> ParameterShift:
        """The evaluations for gradients by parameter shift. Raises NotDifferentiable."""
        from qonduit_server.estimation.parameter_shift import parameter_shift

        names = self.sweep.names
        make = partial(parameter_shift, self.symbolic.quantum, names)
        return self._preparation.kept(self.index, ("shift",), make)[0]

    @cached_property
    def adjoint(self) -> AdjointCircuit:
        """The circuit for gradients by adjoint differentiation. Raises NotDifferentiable."""
        from qonduit_server.estimation.adjoint import AdjointCircuit

        make = partial(AdjointCircuit, self.symbolic.quantum, self.sweep.names)
        return self._preparation.kept(self.index, ("adjoint",), make)[0]

    def shifted(self, point: int) -> ObservedCircuits:
        """Return the circuits of the evaluations for the gradient at a point."""
        circuit = replace(self.symbolic, quantum=self.shift.circuit, parameters=tuple(self.shift.names))
        points = _Evaluations(circuit, self.shift.names, self.shift.points(self.sweep.values[point].tolist()))
        return ObservedCircuits(
            self._preparation, self.index, points, lambda each: each, circuit, self._observables, "shift"
        )


class _Evaluations:
    """Points of a circuit whose angles are its parameters."""

    def __init__(self, symbolic: Circuit, names: Sequence[str], values: NDArray[np.float64]) -> None:
        self.names = tuple(names)
        self.values = values
        self.symbolic = symbolic

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _binder(self) -> Binder:
        return Binder(self.symbolic, self.names)

    def circuit(self, point: int) -> Circuit:
        (circuit,) = self._binder.bind(self.values[point : point + 1])
        return circuit


def _check_differentiable(circuit: Circuit) -> bool:
    """Return True; reject a circuit whose measurements decide how it continues. Raises NotDifferentiable."""
    needs = requirements_of(circuit.quantum)
    if needs.mid_circuit_measurement or needs.conditionals or needs.loops:
        raise NotDifferentiable(
            "the program measures in the middle, so that it has no gradient: measure at the end only, or leave "
            "gradient unset"
        )
    return True


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
