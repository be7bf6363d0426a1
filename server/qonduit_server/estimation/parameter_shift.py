# SPDX-License-Identifier: Apache-2.0
"""Parameter shift: gradients from values of one circuit at shifted angles, on any device.

Every angle of the circuit becomes a parameter of its own, so that an evaluation is a further point of a sweep over one
circuit. A gate with two eigenvalues of its generator, of difference 1, needs two points (Schuld and others,
arXiv:1811.11184), a controlled rotation four (Anselmetti and others, arXiv:2104.05695). Both rules are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import CircuitInstruction, Instruction, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit import library as qk

from qonduit_server.estimation.angles import Angles, NotDifferentiable
from qonduit_server.estimation.rotation_gates import expanded, is_rotation, parameters_of

#: Shifts and the factors of the values there.
Rule: TypeAlias = tuple[tuple[float, float], ...]

_TWO: Final[Rule] = ((math.pi / 2, 0.5), (-math.pi / 2, -0.5))
_NEAR: Final = (math.sqrt(2) + 1) / (4 * math.sqrt(2))
_FAR: Final = (math.sqrt(2) - 1) / (4 * math.sqrt(2))
_FOUR: Final[Rule] = (
    (math.pi / 2, _NEAR),
    (-math.pi / 2, -_NEAR),
    (3 * math.pi / 2, -_FAR),
    (-3 * math.pi / 2, _FAR),
)
_FOUR_TERMS: Final = frozenset((qk.CRXGate, qk.CRYGate, qk.CRZGate))
#: Gates of several angles that each have two terms.
_SEVERAL_ANGLES: Final = frozenset((qk.UGate, qk.U2Gate, qk.U3Gate))


class ParameterShift:
    """The evaluations of a circuit that give its gradients.

    `circuit` is the circuit with the parameters `names`, one an angle. Gates without parameters, channels,
    measurements and resets stay as they are. Noise must be in the circuit already: a gate of several angles may have
    become several gates.

    Args:
        circuit: operations with expressions of parameters.
        parameters: the names of its parameters in the order of points and gradients.

    Raises:
        NotDifferentiable: a gate under a condition has parameters, or a gate has no derivative.
    """

    def __init__(self, circuit: QuantumCircuit, parameters: Sequence[str]) -> None:
        self.circuit = circuit.copy_empty_like()
        self.circuit.global_phase = 0
        self._expressions: list[ParameterExpression] = []
        self._rules: list[Rule] = []
        names: list[str] = []
        for instruction in circuit.data:
            operation = instruction.operation
            if not parameters_of(operation):
                self.circuit._append(instruction)
                continue
            if not instruction.qubits or operation.name == "delay":
                # Global phases and delays change no value.
                continue
            if instruction.clbits or hasattr(operation, "blocks"):
                raise NotDifferentiable(
                    f"the operation {operation.name!r} has parameters and depends on measured bits: parameter shift "
                    "needs gates outside of conditions and loops"
                )
            for step, own in expanded(operation, _keep):
                self._append(step, [instruction.qubits[place] for place in own], names)
        self.names = tuple(names)
        self._angles = Angles(self._expressions, parameters)
        self._shifts = [(place, *each) for place, rule in enumerate(self._rules) for each in rule]

    @property
    def num_evaluations(self) -> int:
        """Return the number of points: that of the value, and two or four an angle."""
        return 1 + len(self._shifts)

    def points(self, point: Sequence[float]) -> NDArray[np.float64]:
        """Return the values of `names` (evaluations x angles) for the gradient at a point; the first row is the point.

        Raises:
            ProgramError: an angle has no finite real value at the point.
        """
        found = np.tile(self._angles.values(point), (self.num_evaluations, 1))
        for row, (place, shift, _) in enumerate(self._shifts, start=1):
            found[row, place] += shift
        return np.asarray(found)

    def gradients(self, point: Sequence[float], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives (observables x parameters).

        Args:
            point: the parameters' values.
            values: of the observables at `points(point)` (evaluations x observables).
        """
        return self._angles.chain(point, self._by_angle(values, 1))

    def standard_errors(self, point: Sequence[float], errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard errors of the derivatives, from those of the values, which are independent.

        The arguments are as those of `gradients`.
        """
        return np.asarray(np.sqrt(self._angles.chain(point, self._by_angle(errors**2, 2), 2)))

    def _by_angle(self, values: NDArray[np.float64], power: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.zeros((values.shape[1], len(self._rules)))
        for row, (place, _, factor) in enumerate(self._shifts, start=1):
            found[:, place] += factor**power * values[row]
        return found

    def _append(self, operation: Instruction, qubits: list[object], names: list[str]) -> None:
        if parameters_of(operation):
            rule = _FOUR if operation.base_class in _FOUR_TERMS else _TWO
            params = list(operation.params)
            for place, each in enumerate(params):
                if isinstance(each, ParameterExpression) and each.parameters:
                    names.append(f"angle[{len(names)}]")
                    params[place] = Parameter(names[-1])
                    self._expressions.append(each)
                    self._rules.append(rule)
            operation = operation.base_class(*params)
        self.circuit._append(CircuitInstruction(operation, qubits, ()))


def parameter_shift(circuit: QuantumCircuit, parameters: Sequence[str]) -> ParameterShift:
    """Return the evaluations that give the gradients of a circuit by these parameters."""
    return ParameterShift(circuit, parameters)


def _keep(operation: Instruction) -> bool:
    return not parameters_of(operation) or operation.base_class in _SEVERAL_ANGLES or is_rotation(operation)
