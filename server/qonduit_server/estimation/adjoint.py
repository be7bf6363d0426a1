# SPDX-License-Identifier: Apache-2.0
"""Adjoint differentiation: exact gradients of expectation values by one pass forward and one backward.

The method of Jones and Gacon (arXiv:2009.02823): the state and the observable applied to it are taken back through the
circuit, gate by gate, and each angle's derivative is a matrix element of its generator between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, ParameterExpression, QuantumCircuit

from qonduit_server.capabilities import FEATURES
from qonduit_server.estimation.angles import Angles, NotDifferentiable
from qonduit_server.estimation.pauli_action import Vector, apply
from qonduit_server.estimation.rotation_gates import GENERATORS, expanded, is_rotation, parameters_of
from qonduit_server.estimation.rotation_rows import RotationRows
from qonduit_server.estimation.state_kernels import Rows, Targets, apply_rows, element, rows_of
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.pauli_sums import PauliSum

#: Wider gates are expanded by their definitions.
_MAX_MATRIX_QUBITS: Final = 3
#: Memory for the observables' states that go through the circuit together, in bytes; at least one does.
_MEMORY: Final = 1 << 28


@dataclass(frozen=True)
class _Fixed:
    """A gate without parameters."""

    targets: Targets
    rows: Rows
    inverse: Rows


@dataclass(frozen=True)
class _Rotation:
    """A gate with an angle, by its number."""

    targets: Targets
    rows: RotationRows
    angle: int


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
        self._steps: list[_Fixed | _Rotation] = []
        self._expressions: list[ParameterExpression] = []
        self._targets: dict[tuple[int, ...], Targets] = {}
        self._matrices: dict[object, tuple[Rows, Rows]] = {}
        self._rotations: dict[type, RotationRows] = {}
        self._touched: set[int] = set()
        for instruction in circuit.data:
            if instruction.operation.name == "measure":
                continue
            places = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
            for operation, own in expanded(instruction.operation, _keep):
                self._add(operation, tuple(places[place] for place in own))
        self._angles = Angles(self._expressions, names)

    def state(self, point: Sequence[float]) -> Vector:
        """Return the final state at a point, without the program's global phase; bit k of an index is qubit k.

        Raises:
            ProgramError: an angle has no finite real value at the point.
        """
        return self._forward(self._angles.values(point))

    def gradients(
        self, point: Sequence[float], observables: Sequence[PauliSum], state: Vector | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the values (one an observable) and their derivatives (observables x parameters) at a point.

        The memory is that of five states, and of one more for each further observable while they take less than
        256 MiB together.

        Args:
            point: the parameters' values, in the order of the names.
            observables: on at most the circuit's qubits.
            state: that of `state` at the point, if it is known already.

        Raises:
            ProgramError: an angle has no finite real value at the point.
        """
        angles = self._angles.values(point)
        final = self._forward(angles) if state is None else state
        values = np.zeros(len(observables))
        derivatives: NDArray[np.float64] = np.zeros((len(observables), len(self._expressions)))
        together = max(1, _MEMORY // final.nbytes)
        for first in range(0, len(observables), together):
            own = slice(first, first + together)
            applied = [apply(each, final) for each in observables[own]]
            values[own] = [np.vdot(final, each).real for each in applied]
            self._backward(angles, final.copy(), applied, derivatives[own])
        return values, self._angles.chain(point, derivatives)

    def _forward(self, angles: NDArray[np.float64]) -> Vector:
        state: Vector = np.zeros(1 << self.num_qubits, dtype=np.complex128)
        state[0] = 1.0
        for step in self._steps:
            rows = step.rows if isinstance(step, _Fixed) else step.rows.at(float(angles[step.angle]))
            apply_rows(rows, step.targets.parts(state))
        return state

    def _add(self, operation: Instruction, qubits: tuple[int, ...]) -> None:
        if operation.name == "reset":
            if self._touched.isdisjoint(qubits):
                return
            raise NotDifferentiable("the program resets a qubit that gates have acted on: use parameter shift")
        self._touched.update(qubits)
        targets = self._targets.setdefault(qubits, Targets(qubits, self.num_qubits))
        if parameters_of(operation):
            kind = operation.base_class
            rows = self._rotations.get(kind) or self._rotations.setdefault(kind, RotationRows(GENERATORS[kind]))
            self._steps.append(_Rotation(targets, rows, len(self._expressions)))
            self._expressions.append(operation.params[0])
            return
        key = (operation.base_class, tuple(operation.params)) if not operation.mutable else None
        known = self._matrices.get(key) if key is not None else None
        if known is None:
            matrix = np.asarray(operation.to_matrix(), dtype=np.complex128)
            known = rows_of(matrix), rows_of(matrix.conj().T)
            if key is not None:
                self._matrices[key] = known
        self._steps.append(_Fixed(targets, *known))

    def _backward(
        self, angles: NDArray[np.float64], state: Vector, applied: list[Vector], derivatives: NDArray[np.float64]
    ) -> None:
        """Take the state and the observables' states back to the first gate with an angle."""
        for step in reversed(self._steps):
            parts = step.targets.parts(state)
            others = [step.targets.parts(each) for each in applied]
            if isinstance(step, _Fixed):
                inverse = step.inverse
            else:
                for row, other in enumerate(others):
                    derivatives[row, step.angle] = -2 * element(step.rows.generator, other, parts).imag
                if step.angle == 0:
                    return
                inverse = step.rows.at(-float(angles[step.angle]))
            apply_rows(inverse, parts)
            for other in others:
                apply_rows(inverse, other)


def _keep(operation: Instruction) -> bool:
    if parameters_of(operation):
        return is_rotation(operation)
    return operation.name == "reset" or (
        operation.num_qubits <= _MAX_MATRIX_QUBITS
        and hasattr(operation, "to_matrix")
        and hasattr(operation, "__array__")
    )
