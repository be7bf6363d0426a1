# SPDX-License-Identifier: Apache-2.0
"""The gates of Cirq's JSON as IR gates, with their phases, which are observable under controls."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import numpy as np
from qiskit.circuit import library as qk
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford

from qonduit_server.ir.controls import Step
from qonduit_server.ir.limits import too_large
from qonduit_server.ir.symbolic import is_open
from qonduit_server.languages import gate_modifiers, pauli_strings
from qonduit_server.languages.cirq import boolean_expressions
from qonduit_server.languages.cirq.eigen_gates import POWERS, Power, cz, exchange
from qonduit_server.languages.cirq.eigen_gates import z as power_of_z
from qonduit_server.languages.cirq.gate_parts import (
    Context,
    Parts,
    check_levels,
    complex_number,
    controlled,
    count,
    kind_of,
    moved,
    unknown,
)
from qonduit_server.languages.json_text import Node, integer, mapping, sequence, text, unsupported, wrong

#: Maximum number of qubits of matrices, diagonals and states; tableaus may have more.
MAX_MATRIX_QUBITS: Final = 10
_MAX_TABLEAU_QUBITS: Final = 32
#: Maximum deviation of a matrix from a unitary one.
TOLERANCE: Final = 1e-8
_PI: Final = math.pi


def build(node: object, context: Context) -> Parts:
    """Return a unitary gate.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, not a gate, or an unknown one; other reasons, malformed.
    """
    kind = kind_of(node, "a gate")
    family = POWERS.get(kind)
    if family is not None:
        return _power(mapping(node, "a gate"), context, family)
    maker = _GATES.get(kind)
    if maker is None:
        raise unknown(kind)
    return maker(mapping(node, "a gate"), context)


# ---- powers and rotations


def _power(node: Node, context: Context, family: Power) -> Parts:
    """Return a gate to a power; global_shift adds to all its eigenvalues."""
    exponent = context.symbols.exponent(node.get("exponent", 1.0), "exponent")
    shift = context.symbols.exponent(node.get("global_shift", 0.0), "global_shift")
    half_turns = _reduced(exponent, family.period)
    steps = family.steps(half_turns) if half_turns else []
    return Parts([*steps, *gate_modifiers.phase(_PI * exponent * shift)] if shift else steps, family.qubits)


def _reduced(exponent: float, period: float = 2.0) -> float:
    """Return an exponent in [0, period); one that depends on a free input stays as it is, as the gates are periodic."""
    return exponent if is_open(exponent) else exponent % period


def _turn(gate: Callable[[float], Any], qubits: int = 1, factor: float = 1.0) -> _Maker:
    """Return a rotation by radians."""
    return lambda node, context: Parts(
        [(gate(factor * context.symbols.number(node.get("rads"), "rads")), tuple(range(qubits)))], qubits
    )


def _phased_x(node: Node, context: Context) -> Parts:
    exponent = context.symbols.number(node.get("exponent", 1.0), "exponent")
    shift = context.symbols.number(node.get("global_shift", 0.0), "global_shift")
    axis = _PI * context.symbols.number(node.get("phase_exponent"), "phase_exponent")
    half_turns = _reduced(exponent)
    phase = gate_modifiers.phase(_PI * (half_turns / 2 + exponent * shift))
    return Parts([(qk.RGate(_PI * half_turns, axis), (0,)), *phase], 1)


def _phased_xz(node: Node, context: Context) -> Parts:
    x, z, axis = (
        context.symbols.exponent(node.get(key), key) for key in ("x_exponent", "z_exponent", "axis_phase_exponent")
    )
    x, z = _reduced(x), _reduced(z)
    turned = [
        (qk.RGate(_PI * x, _PI * axis), (0,)),
        *(power_of_z(z) if z else []),
        *gate_modifiers.phase(_PI * x / 2),
    ]
    return Parts(turned, 1)


def _phased_iswap(node: Node, context: Context) -> Parts:
    inner = _power(node, context, POWERS["ISwapPowGate"])
    angle = _PI * context.symbols.number(node.get("phase_exponent"), "phase_exponent")
    return Parts(gate_modifiers.conjugated([(qk.PhaseGate(angle), (0,)), (qk.PhaseGate(-angle), (1,))], inner.steps), 2)


def _fsim(node: Node, context: Context) -> Parts:
    theta, phi = (context.symbols.number(node.get(key), key) for key in ("theta", "phi"))
    return Parts([*exchange(theta), (qk.CPhaseGate(-phi), (0, 1))], 2)


def _phased_fsim(node: Node, context: Context) -> Parts:
    zeta, chi, gamma = (context.symbols.number(node.get(key, 0.0), key) for key in ("zeta", "chi", "gamma"))
    before: list[Step] = [(qk.PhaseGate(chi + zeta), (0,))]
    after: list[Step] = [(qk.PhaseGate(-gamma - chi), (0,)), (qk.PhaseGate(-gamma - zeta), (1,))]
    return Parts([*before, *_fsim({"phi": 0.0, **node}, context).steps, *after], 2)


def _u(node: Node, context: Context) -> Parts:
    theta, phi, lam = (_PI * context.symbols.number(node.get(key), key) for key in ("theta", "phi", "lmda"))
    return Parts([(qk.UGate(theta, phi, lam), (0,))], 1)


# ---- phases, matrices, permutations


def _identity(node: Node, context: Context) -> Parts:
    check_levels(node)
    return Parts([], count(node, "num_qubits"))


def _phase(node: Node, context: Context) -> Parts:
    return Parts(unit_phase(node.get("coefficient"), "the coefficient of a global phase"), 0)


def unit_phase(node: object, what: str) -> list[Step]:
    """Return a number of length 1 as a global phase."""
    coefficient = complex_number(node, what)
    if abs(abs(coefficient) - 1) > TOLERANCE:
        raise wrong(f"{what} is not of length 1")
    return gate_modifiers.phase(cmath.phase(coefficient)) if coefficient != 1 else []


def _qubits_of(size: int, what: str, parts: str) -> int:
    """Return the number of qubits of a matrix or diagonal, within its limits."""
    qubits = size.bit_length() - 1
    if size != 1 << max(qubits, 1):
        raise wrong(f"{what} has {size} {parts}, not a power of two")
    if qubits > MAX_MATRIX_QUBITS:
        raise too_large(f"{what} acts on more than {MAX_MATRIX_QUBITS} qubits")
    return qubits


def _matrix(node: Node, context: Context) -> Parts:
    check_levels(node)
    rows = sequence(node.get("matrix"), "a matrix")
    qubits = _qubits_of(len(rows), "a matrix", "rows")
    values = [[complex_number(each, "a matrix's element") for each in sequence(row, "a row")] for row in rows]
    if any(len(row) != len(rows) for row in values):
        raise wrong("a matrix is not square")
    matrix = np.array(values, dtype=complex)
    if np.abs(matrix).max() > 2 or not np.allclose(matrix @ matrix.conj().T, np.eye(len(rows)), rtol=0, atol=TOLERANCE):
        raise wrong("a matrix is not unitary")
    label = node.get("name")
    name = text(label, "the name of a matrix") if label is not None else None
    return Parts([(qk.UnitaryGate(matrix, name, check_input=False), tuple(reversed(range(qubits))))], qubits)


def _diagonal(node: Node, context: Context) -> Parts:
    angles = sequence(node.get("diag_angles_radians"), "diag_angles_radians")
    qubits = _qubits_of(len(angles), "a diagonal", "elements")
    phases = [cmath.exp(1j * context.symbols.known(each, "an angle")) for each in angles]
    return Parts([(qk.DiagonalGate(phases), tuple(reversed(range(qubits))))], qubits)


def _boolean_hamiltonian(node: Node, context: Context) -> Parts:
    """Return phases -theta/2 (f - mean of f) for each Boolean function f: as in Cirq, without the constant term."""
    theta = context.symbols.known(node.get("theta"), "theta")
    names = [text(each, "parameter_names") for each in sequence(node.get("parameter_names"), "parameter_names")]
    if len(set(names)) < len(names):
        raise wrong("parameter_names has a name twice")
    steps: list[Step] = []
    for each in sequence(node.get("boolean_strs"), "boolean_strs"):
        expression = text(each, "a Boolean expression", boolean_expressions.MAX_EXPRESSION_BYTES)
        function = boolean_expressions.read(expression, names, MAX_MATRIX_QUBITS, context.spend)
        if isinstance(function, boolean_expressions.Parity):
            steps.extend(_parity_phases(function, theta, context))
            continue
        phases = np.exp(-0.5j * theta * (function.values - function.values.mean()))
        steps.append((qk.DiagonalGate(phases.tolist()), function.places))
    return Parts(steps, len(names))


def _parity_phases(function: boolean_expressions.Parity, theta: float, context: Context) -> list[Step]:
    places = function.places
    if not places:
        return []  # a constant function equals its mean
    context.spend(2 * len(places))
    even = -theta / 4 if function.inverted else theta / 4
    steps = pauli_strings.phases("Z" * len(places), even, -even)
    return [(gate, tuple(places[k] for k in own)) for gate, own in steps]


def _permutation(node: Node, context: Context) -> Parts:
    targets = [integer(each, "a permutation") for each in sequence(node.get("permutation"), "a permutation")]
    if sorted(targets) != list(range(len(targets))):
        raise wrong("a permutation does not name each qubit once")
    steps: list[Step] = []
    for start in range(len(targets)):
        place = targets[start]
        targets[start] = start
        while place != start:
            steps.append((qk.SwapGate(), (start, place)))
            targets[place], place = place, targets[place]
    return Parts(steps, len(targets))


def _clifford(node: Node, context: Context) -> Parts:
    size = count(node, "n")
    if not 1 <= size <= _MAX_TABLEAU_QUBITS:
        raise too_large(f"a tableau has more than {_MAX_TABLEAU_QUBITS} qubits, or none")
    xs, zs = (_bits(node.get(key), 2 * size, size) for key in ("xs", "zs"))
    signs = _bits([node.get("rs")], 1, 2 * size)
    try:
        circuit = Clifford(np.hstack([xs, zs, signs.T])).to_circuit()
    except QiskitError:
        raise wrong("a tableau is not that of a Clifford gate") from None
    steps = [(each.operation, tuple(circuit.find_bit(q).index for q in each.qubits)) for each in circuit.data]
    return Parts(steps, size, exact=False)


def _bits(rows: object, height: int, width: int) -> np.ndarray[Any, Any]:
    table = [sequence(row, "a tableau's row") for row in sequence(rows, "a tableau")]
    if len(table) != height or any(len(row) != width or any(bit not in (0, 1) for bit in row) for row in table):
        raise wrong(f"a part of a tableau is not {height} rows of {width} bits")
    bits: np.ndarray[Any, Any] = np.array([[bool(bit) for bit in row] for row in table])
    return bits


# ---- strings of Paulis


def pauli_letters(node: object) -> tuple[str, list[Step]]:
    """Return a DensePauliString: its letters, and its coefficient as a phase."""
    if kind_of(node, "a Pauli string") not in ("DensePauliString", "MutableDensePauliString"):
        raise wrong("a DensePauliString is needed here")
    fields = mapping(node, "a Pauli string")
    mask = [integer(each, "pauli_mask") for each in sequence(fields.get("pauli_mask"), "pauli_mask")]
    if any(each not in range(4) for each in mask):
        raise wrong("pauli_mask may contain only the numbers 0 to 3")
    return "".join("IXYZ"[each] for each in mask), unit_phase(fields.get("coefficient", 1), "a coefficient")


def pauli_letter(node: object) -> str:
    """Return the letter of a Pauli gate."""
    kind = kind_of(node, "a Pauli gate")
    letter = {"_PauliX": "X", "_PauliY": "Y", "_PauliZ": "Z", "IdentityGate": "I"}.get(kind)
    if letter is None:
        raise wrong("X, Y, Z or I is needed here")
    return letter


def pauli_product(letters: str, coefficient: list[Step]) -> Parts:
    """Return the product of Paulis."""
    return Parts([*pauli_strings.product(letters), *coefficient], len(letters))


def _pauli_product(node: Node, context: Context) -> Parts:
    return pauli_product(*pauli_letters(node))


def pauli_phasor(letters: str, coefficient: list[Step], node: Node, context: Context) -> Parts:
    """Return phases on the two eigenspaces of a product of Paulis."""
    plus, minus = (_PI * context.symbols.number(node.get(key, 0), key) for key in ("exponent_pos", "exponent_neg"))
    sign = cmath.exp(1j * sum(float(gate.params[0]) for gate, _ in coefficient))
    if abs(sign.imag) > TOLERANCE:
        raise wrong("a phasor's Pauli string has a coefficient that is not 1 or -1")
    if sign.real < 0:
        plus, minus = minus, plus
    if "I" in letters or not letters:
        # Cirq 1.7 treats qubits with the identity as qubits with Z.
        raise unsupported("a PauliStringPhasor with a qubit on which its string is the identity: leave that qubit out")
    return Parts(pauli_strings.phases(letters, plus, minus), len(letters))


def _phasor(node: Node, context: Context) -> Parts:
    return pauli_phasor(*pauli_letters(node.get("dense_pauli_string")), node, context)


def _interaction(node: Node, context: Context) -> Parts:
    change: list[Step] = []
    for place in (0, 1):
        change.extend(pauli_strings.z_basis(pauli_letter(node.get(f"pauli{place}")), place))
        if node.get(f"invert{place}", False) == 1:
            change.append((qk.XGate(), (place,)))
    exponent = _reduced(context.symbols.exponent(node.get("exponent", 1.0), "exponent"))
    return Parts(gate_modifiers.conjugated(change, cz(exponent)), 2)


# ---- composed gates


def _parallel(node: Node, context: Context) -> Parts:
    inner, copies = context.gate(node.get("sub_gate")), count(node, "num_copies")
    if inner.qubits != 1:
        raise wrong("a ParallelGate takes a gate on one qubit")
    context.spend(copies * len(inner.steps))
    return Parts([step for k in range(copies) for step in moved(inner.steps, k)], copies, inner.exact)


def _controlled(node: Node, context: Context) -> Parts:
    check_levels(node, "control_qid_shape")
    shape = node.get("control_qid_shape")
    number_of = len(sequence(shape, "control_qid_shape")) if shape is not None else 1
    return controlled(context.gate(node.get("sub_gate")), node.get("control_values"), number_of, context)


def _inverse(node: Node, context: Context) -> Parts:
    inner = context.gate(node.get("original"))
    return Parts(gate_modifiers.inverse(inner.steps), inner.qubits, inner.exact, inner.controls)


def _fourier(node: Node, context: Context) -> Parts:
    size = count(node, "num_qubits")
    context.spend(size * (size + 2) // 2)
    steps: list[Step] = []
    for place in range(size):
        steps.extend((qk.CPhaseGate(math.ldexp(_PI, -k)), (place, place - k)) for k in range(1, place + 1))
        steps.append((qk.HGate(), (place,)))
    if node.get("without_reverse") is not True:
        steps.extend((qk.SwapGate(), (place, size - 1 - place)) for place in range(size // 2))
    return Parts(steps, size)


def _gradient(node: Node, context: Context) -> Parts:
    size, exponent = count(node, "num_qubits"), context.symbols.number(node.get("exponent"), "exponent")
    context.spend(size)
    return Parts([(qk.PhaseGate(_PI * exponent * math.ldexp(1.0, -place)), (place,)) for place in range(size)], size)


def _uniform(node: Node, context: Context) -> Parts:
    """Return a uniform superposition (Shukla and Vedula, arXiv:2306.11747), with the gates that Cirq uses."""
    size, states = count(node, "num_qubits"), integer(node.get("m_value"), "m_value")
    if states < 1 or (states - 1).bit_length() > size:
        raise wrong(f"m_value must be between 1 and the number of states of {size} qubits")
    context.spend(2 * size)
    ones = [place for place in range(states.bit_length()) if states >> place & 1]
    # Bit k of the state is the k-th qubit from the last.
    steps: list[Step] = [(qk.XGate(), (size - 1 - place,)) for place in ones[1:]]
    steps.extend((qk.HGate(), (size - 1 - place,)) for place in range(ones[0]))
    done = 0
    for lower, upper in pairwise(ones):
        angle = -2 * math.acos(math.sqrt((1 << lower) / (states - done)))
        turn = qk.RYGate(angle) if not done else qk.CRYGate(angle, ctrl_state=0)
        steps.append((turn, (size - 1 - upper,) if not done else (size - 1 - lower, size - 1 - upper)))
        hadamards = ((size - 1 - upper, size - 1 - place) for place in range(lower, upper))
        steps.extend((qk.CHGate(ctrl_state=0), places) for places in hadamards)
        done += 1 << lower
    return Parts(steps, size)


_Maker = Callable[[Node, Context], Parts]
_GATES: Final[dict[str, _Maker]] = {
    "BooleanHamiltonianGate": _boolean_hamiltonian,
    "CSwapGate": lambda node, context: Parts([(qk.CSwapGate(), (0, 1, 2))], 3),
    "CliffordGate": _clifford,
    "ControlledGate": _controlled,
    "DensePauliString": _pauli_product,
    "DiagonalGate": _diagonal,
    "FSimGate": _fsim,
    "GlobalPhaseGate": _phase,
    "IdentityGate": _identity,
    "MatrixGate": _matrix,
    "MutableDensePauliString": _pauli_product,
    "ParallelGate": _parallel,
    "PauliInteractionGate": _interaction,
    "PauliStringPhasorGate": _phasor,
    "PhaseGradientGate": _gradient,
    "PhasedFSimGate": _phased_fsim,
    "PhasedISwapPowGate": _phased_iswap,
    "PhasedXPowGate": _phased_x,
    "PhasedXZGate": _phased_xz,
    "QasmUGate": _u,
    "QuantumFourierTransformGate": _fourier,
    "QubitPermutationGate": _permutation,
    "Rx": _turn(qk.RXGate),
    "Ry": _turn(qk.RYGate),
    "Rz": _turn(qk.RZGate),
    "SingleQubitCliffordGate": _clifford,
    "ThreeQubitDiagonalGate": _diagonal,
    "TwoQubitDiagonalGate": _diagonal,
    "UniformSuperpositionGate": _uniform,
    "_InverseCompositeGate": _inverse,
    "cirq.MSGate": _turn(qk.RXXGate, 2, 2.0),
}
