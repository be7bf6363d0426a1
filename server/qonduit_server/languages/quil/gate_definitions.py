# SPDX-License-Identifier: Apache-2.0
"""The gates of Quil: built-in gates, definitions of a program, and modifiers."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from qiskit.circuit import Gate
from qiskit.circuit import library as qk
from quil.expression import Expression
from quil.instructions import (
    DefGateSequence,
    GateDefinition,
    GateModifier,
    GateSpecification,
    MemoryReference,
    PauliGate,
    PauliSum,
    Qubit,
)

from qonduit_server.errors import ProgramError
from qonduit_server.ir.controls import Step
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic, is_open
from qonduit_server.ir.visitor import standard_name
from qonduit_server.languages import named_gates
from qonduit_server.languages.gate_modifiers import control, inverse, phase
from qonduit_server.languages.quil.parameter_expressions import Known, Tree, real, tree
from qonduit_server.languages.quil.preprocessing import MAX_ROWS
from qonduit_server.languages.signatures import NO_NAMES

#: Maximum distance to the nearest unitary, which replaces a matrix written with few digits.
_NEAR: Final = 1e-5
_MAX_STEPS: Final = 50_000
_MAX_FORKS: Final = 6
_MAX_QUBITS: Final = MAX_ROWS.bit_length() - 1
#: The gates whose definition differs between Quil's documents.
DISPUTED: Final[Mapping[str, str]] = {
    "BARENCO": "BARENCO has exp(i alpha) cos(theta) on its diagonal; pyQuil's matrix is not unitary",
    "CAN": "CAN is the gate of the specification's matrix, which differs from its formula",
    "PHASEDFSIM": "PHASEDFSIM has the phase exp(i phi - 2 i gamma) on 11, as pyQuil has it",
}

_Matrix = np.ndarray[Any, np.dtype[np.complex128]]


@dataclass(frozen=True)
class _Given:
    """A built-in gate: its numbers of parameters and qubits, and its IR gate."""

    parameters: int
    qubits: int
    steps: Callable[..., list[Step]]


def _one(make: Callable[..., Gate], parameters: int, qubits: int) -> _Given:
    return _Given(parameters, qubits, lambda *numbers: [(make(*numbers), tuple(range(qubits)))])


def _phase_of(first: int, second: int) -> _Given:
    """Return a phase of one state of two qubits."""
    flips: list[Step] = [(qk.XGate(), (place,)) for place, state in ((0, first), (1, second)) if not state]
    return _Given(1, 2, lambda angle: [*flips, (qk.CPhaseGate(angle), (0, 1)), *flips])


def _by_matrix(matrix: Callable[..., Sequence[Sequence[complex]]], parameters: int) -> _Given:
    def steps(*numbers: float) -> list[Step]:
        if any(map(is_open, numbers)):
            raise NotSymbolic("a gate that is computed as a matrix depends on a free input")
        return _unitary(np.array(matrix(*numbers), dtype=complex))

    return _Given(parameters, 2, steps)


def _unitary(matrix: _Matrix) -> list[Step]:
    """Return a gate by its matrix; Quil's first qubit is the highest bit, the IR's the lowest."""
    qubits = len(matrix).bit_length() - 1
    return [(qk.UnitaryGate(matrix), tuple(reversed(range(qubits))))]


def _can(a: float, b: float, c: float) -> list[list[complex]]:
    def cis(angle: float) -> complex:
        return cmath.exp(1j * angle / 2)

    even, odd = (cis(a + b - c), cis(a - b + c)), (cis(-a - b - c), cis(b + c - a))
    p, q = (even[0] + even[1]) / 2, (even[1] - even[0]) / 2
    r, s = (odd[0] + odd[1]) / 2, (odd[0] - odd[1]) / 2
    return [[p, 0, 0, q], [0, r, s, 0], [0, s, r, 0], [q, 0, 0, p]]


def _phased_fsim(theta: float, zeta: float, chi: float, gamma: float, phi: float) -> list[list[complex]]:
    cos, sin = math.cos(theta / 2), 1j * math.sin(theta / 2)

    def turned(number: complex, angle: float) -> complex:
        return number * cmath.exp(1j * angle)

    return [
        [1, 0, 0, 0],
        [0, turned(cos, -gamma - zeta), turned(sin, chi - gamma), 0],
        [0, turned(sin, -chi - gamma), turned(cos, zeta - gamma), 0],
        [0, 0, 0, turned(1, phi - 2 * gamma)],
    ]


def _barenco(alpha: float, phi: float, theta: float) -> list[list[complex]]:
    cos, sin = cmath.exp(1j * alpha) * math.cos(theta), -1j * cmath.exp(1j * alpha) * math.sin(theta)
    return [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, cos, sin * cmath.exp(-1j * phi)],
        [0, 0, sin * cmath.exp(1j * phi), cos],
    ]


def _xy(angle: float) -> list[Step]:
    return [(qk.XXPlusYYGate(-angle), (0, 1))]


_GIVEN: Final[Mapping[str, _Given]] = {
    "I": _one(qk.IGate, 0, 1),
    "X": _one(qk.XGate, 0, 1),
    "Y": _one(qk.YGate, 0, 1),
    "Z": _one(qk.ZGate, 0, 1),
    "H": _one(qk.HGate, 0, 1),
    "S": _one(qk.SGate, 0, 1),
    "T": _one(qk.TGate, 0, 1),
    "PHASE": _one(qk.PhaseGate, 1, 1),
    "RX": _one(qk.RXGate, 1, 1),
    "RY": _one(qk.RYGate, 1, 1),
    "RZ": _one(qk.RZGate, 1, 1),
    "U": _one(qk.UGate, 3, 1),
    "CZ": _one(qk.CZGate, 0, 2),
    "CNOT": _one(qk.CXGate, 0, 2),
    "CPHASE": _one(qk.CPhaseGate, 1, 2),
    "CPHASE00": _phase_of(0, 0),
    "CPHASE01": _phase_of(0, 1),
    "CPHASE10": _phase_of(1, 0),
    "SWAP": _one(qk.SwapGate, 0, 2),
    "ISWAP": _one(qk.iSwapGate, 0, 2),
    "SQISW": _Given(0, 2, lambda: _xy(math.pi / 2)),
    "SQISWAP": _Given(0, 2, lambda: _xy(math.pi / 2)),
    "XY": _Given(1, 2, _xy),
    "PISWAP": _Given(1, 2, _xy),
    "PSWAP": _Given(1, 2, lambda angle: [(qk.SwapGate(), (0, 1)), (qk.RZZGate(angle), (0, 1)), *phase(angle / 2)]),
    "FSIM": _Given(2, 2, lambda theta, phi: [*_xy(theta), (qk.CPhaseGate(phi), (0, 1))]),
    "PHASEDFSIM": _by_matrix(_phased_fsim, 5),
    "RXX": _one(qk.RXXGate, 1, 2),
    "RYY": _one(qk.RYYGate, 1, 2),
    "RZZ": _one(qk.RZZGate, 1, 2),
    "CAN": _by_matrix(_can, 3),
    "BARENCO": _by_matrix(_barenco, 3),
    "CCNOT": _one(qk.CCXGate, 0, 3),
    "CSWAP": _one(qk.CSwapGate, 0, 3),
}
_PAULI: Final[Mapping[PauliGate, _Matrix]] = {
    PauliGate.I: np.eye(2, dtype=complex),
    PauliGate.X: np.array([[0, 1], [1, 0]], dtype=complex),
    PauliGate.Y: np.array([[0, -1j], [1j, 0]]),
    PauliGate.Z: np.diag([1, -1]).astype(complex),
}


class Gates:
    """The gates a program may use.

    Args:
        definitions: its DEFGATEs by name; they go before the language's own.
        gate_names: gates that are kept whole, unless OpenQASM has another name for them.
    """

    def __init__(self, definitions: Mapping[str, GateDefinition], gate_names: frozenset[str] = NO_NAMES) -> None:
        self._definitions = definitions
        self._gate_names = gate_names
        self._known: dict[object, tuple[list[Step], int]] = {}
        self._within: list[str] = []

    def steps(
        self, name: str, modifiers: tuple[GateModifier, ...], parameters: tuple[Known, ...], qubits: int
    ) -> list[Step]:
        """Return the IR steps of a gate, on places 0 to `qubits` - 1.

        Raises:
            ProgramError: an unknown gate, or a wrong number of parameters or qubits.
        """
        key = (name, modifiers, parameters)
        known = self._known.get(key)
        if known is None:
            steps, takes = self._modified(name, modifiers, parameters)
            if not modifiers and self._is_named(name, steps):
                steps = named_gates.named(name, steps, takes)
            known = self._known[key] = steps, takes
        steps, takes = known
        if takes != qubits:
            raise ProgramError(
                "SYNTAX_ERROR", f"{_title(name, modifiers)} acts on {takes} qubits, and is given {qubits}"
            )
        return steps

    def _is_named(self, name: str, steps: Sequence[Step]) -> bool:
        return name in self._gate_names and self.public_name(name, steps) == name

    def public_name(self, name: str, steps: Sequence[Step]) -> str:
        """Return the name by which noise models mention a gate of these steps: OpenQASM's, else its own."""
        standard = standard_name(steps[0][0]) if len(steps) == 1 and name not in self._definitions else ""
        return standard or name

    def _modified(
        self, name: str, modifiers: tuple[GateModifier, ...], parameters: tuple[Known, ...]
    ) -> tuple[list[Step], int]:
        if not modifiers:
            return self._plain(name, parameters)
        if len(modifiers) > MAX_DEPTH:
            raise too_large(f"a gate has more than {MAX_DEPTH} modifiers")
        first, rest = modifiers[0], modifiers[1:]
        if first == GateModifier.DAGGER:
            steps, qubits = self._modified(name, rest, parameters)
            return inverse(named_gates.inlined(steps)), qubits
        if first == GateModifier.CONTROLLED:
            controls = next((k for k, each in enumerate(modifiers) if each != first), len(modifiers))
            steps, qubits = self._modified(name, modifiers[controls:], parameters)
            return _short(control(named_gates.inlined(steps), controls)), qubits + controls
        forks = next((k for k, each in enumerate(modifiers) if each != first), len(modifiers))
        if forks > _MAX_FORKS:
            raise too_large(f"a gate is forked more than {_MAX_FORKS} times")
        count, odd = divmod(len(parameters), 1 << forks)
        if odd or not count:
            message = f"{_title(name, modifiers)} takes {1 << forks} lists of parameters, equally long"
            raise ProgramError("SYNTAX_ERROR", f"{message}, and is given {len(parameters)} parameters")
        done: list[Step] = []
        qubits = 0
        for choice in range(1 << forks):
            # The first qubit selects a half of the parameters; it is the lowest bit of the controls' state.
            state = int(f"{choice:0{forks}b}"[::-1], 2)
            own = parameters[choice * count : (choice + 1) * count]
            steps, qubits = self._modified(name, modifiers[forks:], own)
            done.extend(control(named_gates.inlined(steps), forks, state))
        return _short(done), qubits + forks

    def _plain(self, name: str, parameters: tuple[Known, ...]) -> tuple[list[Step], int]:
        definition = self._definitions.get(name)
        if definition is not None:
            return self._defined(definition, parameters)
        given = _GIVEN.get(name)
        if given is None:
            raise ProgramError("UNKNOWN_GATE", f"{name!r} is not a gate of Quil: define it with DEFGATE or DEFCIRCUIT")
        _check_number(name, given.parameters, parameters)
        numbers = [real(each, f"a parameter of {name}") for each in parameters]
        return given.steps(*numbers), given.qubits

    def _defined(self, definition: GateDefinition, parameters: tuple[Known, ...]) -> tuple[list[Step], int]:
        name, names = definition.name, definition.parameters
        _check_number(name, len(names), parameters)
        if len(set(names)) != len(names):
            raise ProgramError("SYNTAX_ERROR", f"DEFGATE {name} names a parameter twice")
        values: dict[str, Tree] = dict(zip(names, parameters, strict=True))
        match definition.specification:
            case GateSpecification.Matrix(rows):
                return _matrix_gate(name, rows, values)
            case GateSpecification.Permutation(places):
                return _permutation(name, places)
            case GateSpecification.PauliSum(terms):
                return _pauli_sum(name, terms, values)
            case GateSpecification.Sequence(sequence):
                return self._sequence(name, sequence, values)
        raise ProgramError("UNSUPPORTED_CONSTRUCT", f"DEFGATE {name} is of an unsupported kind")

    def _sequence(self, name: str, sequence: DefGateSequence, values: Mapping[str, Tree]) -> tuple[list[Step], int]:
        if name in self._within:
            raise ProgramError("SYNTAX_ERROR", f"the gate {name!r} is defined by itself")
        if len(self._within) >= MAX_DEPTH:
            raise too_large(f"gates are nested more than {MAX_DEPTH} deep")
        own = sequence.qubits
        if len(set(own)) != len(own):
            raise ProgramError("SYNTAX_ERROR", f"DEFGATE {name} names a qubit twice")
        done: list[Step] = []
        self._within.append(name)
        for gate in sequence.gates:
            places = []
            for qubit in gate.qubits:
                if not isinstance(qubit, Qubit.Variable) or qubit._0 not in own:
                    raise ProgramError("SYNTAX_ERROR", f"DEFGATE {name} acts on a qubit that is not an argument")
                places.append(own.index(qubit._0))
            check_distinct(gate.name, places)
            numbers = tuple(_known_number(name, each, values) for each in gate.parameters)
            steps = self.steps(gate.name, tuple(gate.modifiers), numbers, len(places))
            _short(steps, _MAX_STEPS - len(done))
            done.extend((each, tuple(places[k] for k in inner)) for each, inner in steps)
        self._within.pop()
        return done, len(own)


def check_distinct(name: str, qubits: Sequence[object]) -> None:
    """Reject a gate on the same qubit twice."""
    if len(set(qubits)) != len(qubits):
        raise ProgramError("SYNTAX_ERROR", f"{name} is given the same qubit twice")


def _matrix_gate(name: str, rows: Sequence[Sequence[Expression]], values: Mapping[str, Tree]) -> tuple[list[Step], int]:
    size = len(rows)
    if size < 2 or size & (size - 1) or any(len(row) != size for row in rows):
        raise ProgramError(
            "SYNTAX_ERROR", f"the matrix of {name} does not have 2, 4, 8, ... rows as long as there are rows"
        )
    _check_size(name, size)
    matrix = np.array([[_number(name, each, values) for each in row] for row in rows], dtype=complex)
    with np.errstate(all="ignore"):
        far = not np.all(np.abs(matrix.conj().T @ matrix - np.eye(size)) < _NEAR)
    if far:
        raise ProgramError("SYNTAX_ERROR", f"the matrix of {name} is not unitary")
    left, _, right = np.linalg.svd(matrix)
    return _unitary(left @ right), size.bit_length() - 1


def _permutation(name: str, places: Sequence[int]) -> tuple[list[Step], int]:
    size = len(places)
    if size < 2 or size & (size - 1) or sorted(places) != list(range(size)):
        raise ProgramError("SYNTAX_ERROR", f"the permutation of {name} does not hold each of 0 to 2^n - 1 once")
    _check_size(name, size)
    return _unitary(np.eye(size, dtype=complex)[list(places)]), size.bit_length() - 1


def _pauli_sum(name: str, terms: PauliSum, values: Mapping[str, Tree]) -> tuple[list[Step], int]:
    own = terms.arguments
    check_distinct(f"DEFGATE {name}", own)
    if len(own) > _MAX_QUBITS:
        _check_size(name, 2 * MAX_ROWS)
    sum_: _Matrix = np.zeros((1 << len(own), 1 << len(own)), dtype=complex)
    for term in terms.terms:
        letters = dict.fromkeys(own, PauliGate.I)
        check_distinct(f"a term of {name}", [qubit for _, qubit in term.arguments])
        letters.update({qubit: letter for letter, qubit in term.arguments})
        product: _Matrix = np.eye(1, dtype=complex)
        for qubit in own:
            product = np.kron(product, _PAULI[letters[qubit]])
        sum_ = sum_ + real(_number(name, term.expression, values), f"a coefficient of {name}") * product
    energies, states = np.linalg.eigh(sum_)
    return _unitary((states * np.exp(-1j * energies)) @ states.conj().T), len(own)


def _number(name: str, expression: Expression, values: Mapping[str, Tree]) -> complex:
    """Return a number that must be known while reading."""
    number = _known_number(name, expression, values)
    if isinstance(number, Symbolic):
        raise NotSymbolic(f"the matrix of {name} depends on a free input")
    return number


def _known_number(name: str, expression: Expression, values: Mapping[str, Tree]) -> Known:
    def element(reference: MemoryReference) -> Tree:
        raise ProgramError("SYNTAX_ERROR", f"the definition of {name} reads memory ({reference.name!r})")

    number = tree(expression, values, element)
    assert isinstance(number, complex | Symbolic)
    return number


def _check_size(name: str, size: int) -> None:
    if size > MAX_ROWS:
        raise too_large(f"the gate {name!r} is defined by a matrix of more than {MAX_ROWS} rows")


def _check_number(name: str, takes: int, parameters: Sequence[Known]) -> None:
    if len(parameters) != takes:
        raise ProgramError("SYNTAX_ERROR", f"{name} takes {takes} parameters, and is given {len(parameters)}")


def _short(steps: list[Step], most: int = _MAX_STEPS) -> list[Step]:
    if len(steps) > most:
        raise too_large(f"a gate unrolls to more than {_MAX_STEPS} operations")
    return steps


def _title(name: str, modifiers: Sequence[GateModifier]) -> str:
    return " ".join([*(each.to_quil() for each in modifiers), name])
