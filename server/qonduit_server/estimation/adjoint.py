# SPDX-License-Identifier: Apache-2.0
"""Adjoint differentiation: exact gradients of expectation values by one pass forward and one backward.

The method of Jones and Gacon (arXiv:2009.02823): the state and the observable applied to it are taken back through the
circuit, gate by gate, and each angle's derivative is a matrix element of its generator between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, ParameterExpression, QuantumCircuit

from qonduit_server.capabilities import FEATURES
from qonduit_server.estimation.adjoint_steps import MAX_PERMUTED_QUBITS, FixedGate, Permutation, Rotation, Step
from qonduit_server.estimation.angles import Angles, NotDifferentiable
from qonduit_server.estimation.exact_values import variance
from qonduit_server.estimation.one_qubit_layers import OneQubitGate, OneQubitLayer, fixed_gate
from qonduit_server.estimation.pauli_action import Vector, apply
from qonduit_server.estimation.rotation_gates import GENERATORS, expanded, is_rotation, parameters_of
from qonduit_server.estimation.rotation_rows import RotationRows
from qonduit_server.estimation.state_kernels import Rows, Targets, rows_of
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.pauli_sums import PauliSum

#: Wider gates are expanded by their definitions.
_MAX_MATRIX_QUBITS: Final = 3
#: Memory for the observables' states that go through the circuit together, in bytes; at least one does.
_MEMORY: Final = 1 << 28


class PointGradients(NamedTuple):
    """The derivatives of observables at a point, with the exact values that they come from.

    Attributes:
        values: one an observable.
        derivatives: of shape (observables, parameters).
        variances: one an observable.
        state: at the point, without the program's global phase; bit k of an index is qubit k.
    """

    values: NDArray[np.float64]
    derivatives: NDArray[np.float64]
    variances: NDArray[np.float64]
    state: Vector


class AdjointCircuit:
    """A circuit whose gradients can be computed at many points.

    Args:
        circuit: gates with expressions of parameters. Measurements at the end are ignored.
        names: the parameters in the order of points and gradients.

    Raises:
        NotDifferentiable: the circuit measures in the middle, resets, branches or has noise, or a gate has no
            derivative.
    """

    def __init__(self, circuit: QuantumCircuit, names: Sequence[str]) -> None:
        needs = requirements_of(circuit)
        for construct, name in FEATURES.items():
            if getattr(needs, construct):
                raise NotDifferentiable(
                    f"adjoint differentiation needs gates only, and the program has {name}: use parameter shift, or "
                    "leave gradient unset"
                )
        self.num_qubits: int = circuit.num_qubits
        self._steps: list[Step] = []
        self._expressions: list[ParameterExpression] = []
        self._targets: dict[tuple[int, ...], Targets] = {}
        self._matrices: dict[object, tuple[Rows, Rows]] = {}
        self._rotations: dict[type, RotationRows] = {}
        self._permutations: dict[tuple[object, ...], Permutation] = {}
        self._touched: set[int] = set()
        #: Gates that the next step combines: those on one qubit, or permutations, each with a key for equal gates.
        self._layer: dict[int, list[OneQubitGate]] = {}
        self._permuted: list[tuple[FixedGate, object]] = []
        for instruction in circuit.data:
            if instruction.operation.name == "measure":
                continue
            places = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
            for operation, own in expanded(instruction.operation, _keep):
                self._add(operation, tuple(places[place] for place in own))
        self._end_layer()
        self._end_permutation()
        self._angles = Angles(self._expressions, names)

    def gradients(self, point: Sequence[float], observables: Sequence[PauliSum]) -> PointGradients:
        """Return the derivatives, values and variances at a point.

        The memory is that of five states, and of one more for each further observable while they take less than
        256 MiB together.

        Args:
            point: the parameters' values, in the order of the names.
            observables: on at most the circuit's qubits.

        Raises:
            ProgramError: an angle has no finite real value at the point.
        """
        angles = self._angles.values(point)
        final = self._forward(angles)
        values, variances = np.zeros(len(observables)), np.zeros(len(observables))
        derivatives: NDArray[np.float64] = np.zeros((len(observables), len(self._expressions)))
        together = max(1, _MEMORY // final.nbytes)
        for first in range(0, len(observables), together):
            own = slice(first, first + together)
            states: Vector = np.stack([final, *(apply(each, final) for each in observables[own])])
            for place, applied in enumerate(states[1:], first):
                values[place] = value = float(np.vdot(final, applied).real)
                variances[place] = variance(final, applied, value)
            self._backward(angles, states, derivatives[own])
        return PointGradients(values, self._angles.chain(point, derivatives), variances, final)

    def _forward(self, angles: NDArray[np.float64]) -> Vector:
        states: Vector = np.zeros((1, 1 << self.num_qubits), dtype=np.complex128)
        states[0, 0] = 1.0
        for step in self._steps:
            states = step.forward(states, angles)
        return states[0]

    def _backward(self, angles: NDArray[np.float64], states: Vector, derivatives: NDArray[np.float64]) -> None:
        """Take the state and the observables' states back to the first gate with an angle."""
        for step in reversed(self._steps):
            states = step.backward(states, angles, derivatives)
            if step.first_angle == 0:
                return

    def _add(self, operation: Instruction, qubits: tuple[int, ...]) -> None:
        if operation.name == "reset":
            if self._touched.isdisjoint(qubits):
                return
            raise NotDifferentiable("the program resets a qubit that gates have acted on: use parameter shift")
        self._touched.update(qubits)
        angle = -1
        if parameters_of(operation):
            angle = len(self._expressions)
            self._expressions.append(operation.params[0])
        if len(qubits) == 1:
            self._end_permutation()
            gate = self._rotation(operation).one_qubit_gate(angle) if angle >= 0 else fixed_gate(_matrix(operation))
            self._layer.setdefault(qubits[0], []).append(gate)
            return
        self._end_layer()
        targets = self._targets.setdefault(qubits, Targets(qubits, self.num_qubits))
        if angle >= 0:
            self._end_permutation()
            self._steps.append(Rotation(targets, self._rotation(operation), angle))
            return
        key = (operation.base_class, tuple(operation.params)) if not operation.mutable else None
        rows, inverse = self._fixed_rows(operation, key)
        fixed = FixedGate(targets, rows, inverse)
        if self.num_qubits <= MAX_PERMUTED_QUBITS and fixed.is_monomial:
            self._permuted.append((fixed, (key or object(), qubits)))
        else:
            self._end_permutation()
            self._steps.append(fixed)

    def _end_layer(self) -> None:
        if self._layer:
            self._steps.append(OneQubitLayer(self._layer))
            self._layer = {}

    def _end_permutation(self) -> None:
        if len(self._permuted) == 1:
            self._steps.append(self._permuted[0][0])
        elif self._permuted:
            keys = tuple(key for _, key in self._permuted)
            if keys not in self._permutations:
                gates = [gate for gate, _ in self._permuted]
                self._permutations[keys] = Permutation(gates, self.num_qubits)
            self._steps.append(self._permutations[keys])
        self._permuted = []

    def _rotation(self, operation: Instruction) -> RotationRows:
        kind = operation.base_class
        return self._rotations.get(kind) or self._rotations.setdefault(kind, RotationRows(GENERATORS[kind]))

    def _fixed_rows(self, operation: Instruction, key: object) -> tuple[Rows, Rows]:
        known = self._matrices.get(key) if key is not None else None
        if known is None:
            matrix = _matrix(operation)
            known = rows_of(matrix), rows_of(matrix.conj().T)
            if key is not None:
                self._matrices[key] = known
        return known


def _matrix(operation: Instruction) -> NDArray[np.complex128]:
    return np.asarray(operation.to_matrix(), dtype=np.complex128)


def _keep(operation: Instruction) -> bool:
    if parameters_of(operation):
        return is_rotation(operation)
    return operation.name == "reset" or (
        operation.num_qubits <= _MAX_MATRIX_QUBITS
        and hasattr(operation, "to_matrix")
        and hasattr(operation, "__array__")
    )
