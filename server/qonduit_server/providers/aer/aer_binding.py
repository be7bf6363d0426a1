# SPDX-License-Identifier: Apache-2.0
"""Templates of Aer: programs whose angles are given with the call that runs them.

Aer takes a circuit with a list of values for each of its angles, which it runs once for each value. It does not read
the circuit again, so a point costs a fraction of what a circuit of its own costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.clifford import is_clifford_at
from qonduit_server.ir.parameters import Binder, bind
from qonduit_server.ir.symbolic import is_open
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.point_binding import PointAngles, expressions_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction, ParameterExpression, QuantumCircuit

    from qonduit_server.ir.expressions import Expressions
    from qonduit_server.providers.provider import CompileOptions


class CliffordPoints:
    """The points at which a circuit has Clifford gates only: another method than that of the template runs these.

    Args:
        circuit: with parameters; all gates without them are Clifford gates.
        options: of its compilation.
        gates: those with parameters.
    """

    def __init__(self, circuit: Circuit, options: CompileOptions, gates: Sequence[Instruction]) -> None:
        self._circuit = circuit
        self.options = options
        self._gates = gates
        self._expressions = expressions_of([parameter for gate in gates for parameter in gate.params])

    def bind(self, names: Sequence[str], values: NDArray[np.float64]) -> Callable[[int], Circuit | None]:
        """Return a function from points to circuits with the values; None at points with other gates."""
        angles = PointAngles(self._expressions, names, values)

        def bound(point: int) -> Circuit | None:
            rest = iter(angles.at(point))
            if not all(is_clifford_at(gate, [*islice(rest, len(gate.params))]) for gate in self._gates):
                return None
            return bind(self._circuit, dict(zip(names, values[point].tolist(), strict=True)))

        return bound


class AerTemplate:
    """A program with parameters.

    Args:
        program: the gates of its circuit have expressions as parameters.
        exact: returns the program that gives its exact probabilities; None without one.
        clifford: the points that are compiled by themselves.
    """

    def __init__(
        self,
        program: AerProgram,
        exact: Callable[[AerProgram], AerProgram | None] | None = None,
        clifford: CliffordPoints | None = None,
    ) -> None:
        self._program = program
        self._make_exact = exact
        self.clifford = clifford

    def bind(self, names: Sequence[str], values: NDArray[np.float64]) -> Callable[[int], AerProgram]:
        """Return a function from points to programs; for the arguments see `SimulatorProvider.bind`."""
        exact: list[Callable[[int], AerProgram]] = []

        def exactly(point: int) -> AerProgram | None:
            if self._exact is None:
                return None
            if not exact:
                exact.append(self._exact.bind(names, values))
            return exact[0](point)

        if self._program.kind is Kind.SHOTS:
            circuit = self._bind_circuit(names, values)
            if self._program.final is None:  # the exact probabilities are those of the circuit
                return lambda point: replace(self._program, circuit=circuit(point))
            return lambda point: replace(self._program, circuit=circuit(point), exact=lambda: exactly(point))
        program, expressions = self._separated
        angles = PointAngles(expressions, names, values)
        return lambda point: replace(program, angles=angles.at(point), exact=lambda: exactly(point))

    def _bind_circuit(self, names: Sequence[str], values: NDArray[np.float64]) -> Callable[[int], QuantumCircuit]:
        """Return a function from points to circuits that have the values.

        The shots of a point take longer than its circuit, and in control flow Aer counts no place of a gate.
        """
        circuit = self._program.circuit
        assert circuit is not None
        if not circuit.parameters:
            return lambda _: circuit
        parameters = tuple(sorted(each.name for each in circuit.parameters))
        binder = Binder(Circuit(circuit, (), parameters=parameters), names)

        def bound(point: int) -> QuantumCircuit:
            (found,) = binder.bind(values[point : point + 1])
            return found.quantum

        return bound

    @cached_property
    def _exact(self) -> AerTemplate | None:
        program = None if self._make_exact is None else self._make_exact(self._program)
        return None if program is None else AerTemplate(program)

    @cached_property
    def _separated(self) -> tuple[AerProgram, Expressions]:
        """The program with zeros in place of expressions, and these."""
        circuit = self._program.circuit
        if circuit is None:
            return self._program, expressions_of(())
        slots: list[tuple[int, int]] = []
        found: list[ParameterExpression] = []
        zeros = circuit.copy_empty_like()
        for instruction in circuit.data:
            operation = instruction.operation
            if operation.name == "barrier":  # of which Aer keeps no place, so that slots behind it would be wrong
                continue
            if any(map(is_open, operation.params)):
                for number, parameter in enumerate(operation.params):
                    if is_open(parameter):
                        slots.append((len(zeros.data), number))
                        found.append(parameter)
                operation = operation.to_mutable()
                operation.params = [0.0 if is_open(each) else each for each in operation.params]
                instruction = instruction.replace(operation=operation)
            zeros._append(instruction)
        if is_open(circuit.global_phase):
            # Behind the angles of gates: Aer (0.18) refuses lists of values for the global phase.
            found.append(circuit.global_phase)
            zeros.global_phase = 0.0
        return replace(self._program, circuit=zeros, slots=tuple(slots)), expressions_of(found)
