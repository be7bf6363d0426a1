# SPDX-License-Identifier: Apache-2.0
"""Reader of circuits in IonQ's JSON (API versions 0.3 and 0.4).

Rotations are in radians, phases and angles of native gates in turns. IonQ measures all qubits at the end, so programs
have one register, "meas", in which bit k is qubit k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from qiskit.circuit import Measure
from qiskit.circuit import library as qk
from qiskit.quantum_info import SparsePauliOp

from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Builder
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.controls import Step
from qonduit_server.ir.formula import TRUE
from qonduit_server.ir.limits import MAX_QUBITS, too_large
from qonduit_server.languages import gate_modifiers, pauli_strings
from qonduit_server.languages.json_text import (
    Node,
    integer,
    mapping,
    number,
    parse,
    sequence,
    shown,
    text,
    unsupported,
    wrong,
)
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs

REGISTER: Final = "meas"
#: Maximum number of qubits of non-commuting terms, which are exponentiated together as a matrix.
_MAX_MATRIX_QUBITS: Final = 6
_MAX_TERMS: Final = 1000
_FORMATS: Final = ("ionq.circuit.v0", "ionq.circuit.v1")
#: Known fields of a circuit beside its gates; others produce a warning.
_CIRCUIT_FIELDS: Final = frozenset(("circuit", "qubits", "gateset", "format", "type"))
#: Known fields around a circuit.
_WRAPPERS: Final = ("input", "body")


@dataclass(frozen=True)
class _Kind:
    """A gate: its number of targets, its fields beside qubits, and a function that makes it."""

    targets: int
    steps: Callable[..., list[Step]]
    fields: tuple[str, ...] = ()


def read(source: str, inputs: Inputs = NO_INPUTS, _gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a circuit, which cannot define gates.

    Raises:
        ProgramError: with line and column for invalid JSON, else with the gate's number.
    """
    warnings: dict[str, None] = {}
    program = _unwrapped(parse(source), warnings)
    gateset = program.get("gateset", "qis")
    gates = _GATESETS.get(gateset) if isinstance(gateset, str) else None
    if gates is None:
        raise wrong(f"gateset is {shown(gateset)}; it is 'qis' or 'native'")
    entries = [_entry(each, place, gates) for place, each in enumerate(sequence(program.get("circuit"), "circuit"), 1)]
    size = 1 + max((place for entry in entries for place in entry.qubits), default=-1)
    if "qubits" in program:
        size = _declared(program["qubits"], size)
    builder = Builder()
    builder.add_qubits(size)
    for entry in entries:
        for gate, own in entry.steps:
            if own:  # a global phase of the whole program is not observable
                builder.append(TRUE, gate, [entry.qubits[place] for place in own])
    clbits = builder.add_clbits(size)
    for place in clbits:
        builder.append(TRUE, Measure(), (place,), (place,))
    for entry in entries:
        warnings.update(dict.fromkeys(entry.warnings))
    registers = (ClassicalRegister(REGISTER, clbits),) if size else ()
    return Circuit(builder.finish(), registers, (*warnings, *unused(inputs, ())))


def _unwrapped(root: object, warnings: dict[str, None]) -> Node:
    """Return the circuit inside the job object of IonQ's API."""
    for _ in range(len(_WRAPPERS) + 1):
        if not isinstance(root, dict):
            raise wrong(f"the program is {shown(root)}, not an object with a circuit")
        if "cirq_type" in root:
            raise ProgramError("WRONG_LANGUAGE", "this is Cirq's JSON, not IonQ's: set assembler_language to CIRQ")
        _check_format(root)
        if "circuits" in root:
            root = _only(root)
        elif "circuit" in root:
            _note_ignored(root, _CIRCUIT_FIELDS, warnings)
            return root
        else:
            inside = [key for key in _WRAPPERS if key in root]
            if len(inside) != 1:
                raise wrong('the program has no "circuit": give it as a list of gates')
            _note_ignored(root, frozenset((inside[0], "format", "type", "lang")), warnings)
            root = root[inside[0]]
    raise wrong("the circuit is wrapped too often")


def _check_format(root: Node) -> None:
    for key in ("format", "type"):
        kind = root.get(key)
        if kind is not None and kind not in (*_FORMATS, "ionq.multi-circuit.v1"):
            raise unsupported(f"{key} is {shown(kind)}; {' and '.join(_FORMATS)} are read here")
    if root.get("lang", "json") not in ("json", "qis", "native"):
        raise unsupported(f"lang is {shown(root['lang'])}: give the circuit as JSON")


def _only(root: Node) -> Node:
    """Return the only circuit of a list, with the common fields."""
    circuits = sequence(root["circuits"], "circuits")
    if len(circuits) != 1:
        raise unsupported(f"the program holds {len(circuits)} circuits: send each as a separate program")
    shared = {key: value for key, value in root.items() if key != "circuits"}
    return {**shared, **mapping(circuits[0], "a circuit")}


def _note_ignored(root: Node, known: frozenset[str], warnings: dict[str, None]) -> None:
    for key in root:
        if key not in known:
            warnings[f"{shown(key)} of IonQ's JSON is ignored: set it in the job"] = None


def _declared(node: object, used: int) -> int:
    """Return the declared number of qubits."""
    size = integer(node, "qubits")
    if size > MAX_QUBITS:
        raise too_large(f"the program has more than {MAX_QUBITS} qubits")
    if size < max(used, 1):
        raise wrong(f"the program declares {size} qubits, but uses number {used - 1}")
    return size


@dataclass(frozen=True)
class _Entry:
    """Return the steps of a gate on places, and the qubits of these places."""

    steps: list[Step]
    qubits: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def _entry(node: object, place: int, gates: dict[str, _Kind]) -> _Entry:
    try:
        return _gate(mapping(node, "it"), gates)
    except ProgramError as error:
        raise ProgramError(error.reason, f"gate {place}: {error.message}") from None


def _gate(node: Node, gates: dict[str, _Kind]) -> _Entry:
    name = text(node.get("gate"), "its name")
    kind = gates.get(name)
    if kind is None and not (name == "pauliexp" and gates is _QIS):
        other = next((each for each, known in _GATESETS.items() if name in known), None)
        hint = f"it is one of the gateset {other!r}" if other else f"known are {', '.join(sorted(gates))}"
        raise ProgramError("UNKNOWN_GATE", f"there is no gate {name!r} here: {hint}")
    fields = ("terms", "coefficients", "time") if kind is None else kind.fields
    strange = next((key for key in node if key not in (*_PLACES, "gate", *fields)), None)
    if strange is not None:
        raise unsupported(f"the gate {name!r} has {shown(strange)}, which is not supported: remove it")
    targets, controls = _qubits(node, "target", "targets"), _qubits(node, "control", "controls")
    qubits = (*controls, *targets)
    if len(set(qubits)) != len(qubits):
        raise wrong(f"the gate {name!r} acts on one qubit twice")
    warnings: tuple[str, ...] = ()
    if kind is None:
        steps, warnings = _evolution(node, len(targets))
    else:
        if len(targets) != kind.targets:
            raise wrong(f"the gate {name!r} acts on {kind.targets} targets, not {len(targets)}")
        if name == "cnot" and not controls:
            raise wrong("the gate 'cnot' has no control")
        steps = kind.steps(*(_parameter(node, key) for key in kind.fields))
    if controls:
        if gates is not _QIS:
            raise wrong("native gates have no controls")
        steps = gate_modifiers.control(steps, len(controls))
    return _Entry(steps, qubits, warnings)


_PLACES: Final = ("target", "targets", "control", "controls")


def _qubits(node: Node, single: str, many: str) -> tuple[int, ...]:
    """Return qubits, given as a number or as a list."""
    given = [node[key] for key in (single, many) if node.get(key) is not None]
    if len(given) > 1:
        raise wrong(f"give {single} or {many}, not both")
    if not given:
        return ()
    entries = given[0] if isinstance(given[0], list) else [given[0]]
    places = [integer(each, many) for each in entries]
    if any(not 0 <= each < MAX_QUBITS for each in places):
        raise too_large(f"{many} holds a number that is not between 0 and {MAX_QUBITS - 1}")
    return tuple(places)


def _parameter(node: Node, key: str) -> Any:
    if key == "phases":
        phases = [number(each, "phases") for each in sequence(node.get(key), "phases")]
        if len(phases) != 2:
            raise wrong(f"there are {len(phases)} phases, not 2")
        return phases
    if key == "angle" and node.get(key) is None:
        return 0.25
    return number(node.get(key), key)


# ---- gates


def _fixed(gate: Callable[[], Any]) -> _Kind:
    return _Kind(1, lambda: [(gate(), (0,))])


def _rotation(gate: Callable[[float], Any], targets: int = 1) -> _Kind:
    return _Kind(targets, lambda angle: [(gate(angle), tuple(range(targets)))], ("rotation",))


def _gpi(phase: float) -> list[Step]:
    """Return half a turn about an axis between X and Y, with the phase i."""
    return [(qk.RGate(math.pi, math.tau * phase), (0,)), *gate_modifiers.phase(math.pi / 2)]


def _gpi2(phase: float) -> list[Step]:
    return [(qk.RGate(math.pi / 2, math.tau * phase), (0,))]


def _ms(phases: Sequence[float], angle: float) -> list[Step]:
    """Return an XX rotation about axes between X and Y."""
    turns: list[Step] = [(qk.RZGate(-math.tau * phase), (place,)) for place, phase in enumerate(phases) if phase]
    return gate_modifiers.conjugated(turns, [(qk.RXXGate(math.tau * angle), (0, 1))])


def _native_zz(angle: float) -> list[Step]:
    return [(qk.RZZGate(math.tau * angle), (0, 1))]


def _evolution(node: Node, size: int) -> tuple[list[Step], tuple[str, ...]]:
    """Return exp(-i time H), where H is a sum of products of Paulis; the last letter acts on the first target."""
    terms = [text(each, "a term") for each in sequence(node.get("terms"), "terms")]
    weights = [number(each, "coefficients") for each in sequence(node.get("coefficients"), "coefficients")]
    time = number(node.get("time"), "time")
    if len(terms) != len(weights) or not terms or not size:
        raise wrong("pauliexp takes targets, and as many coefficients as terms")
    if len(terms) > _MAX_TERMS:
        raise too_large(f"pauliexp has more than {_MAX_TERMS} terms")
    if any(len(term) != size or term.strip("IXYZ") for term in terms):
        raise wrong("a term of pauliexp is not one of I, X, Y, Z for each target")
    operator = SparsePauliOp(terms, weights)
    if len(operator.paulis.group_commuting(qubit_wise=False)) == 1:
        steps: list[Step] = []
        for term, weight in zip(terms, weights, strict=True):
            angle = time * weight
            steps.extend(pauli_strings.phases(term[::-1], -angle, angle))
        return steps, ()
    if size > _MAX_MATRIX_QUBITS:
        raise unsupported(f"pauliexp of terms that do not commute is computed for up to {_MAX_MATRIX_QUBITS} qubits")
    values, vectors = np.linalg.eigh(operator.to_matrix())
    matrix = (vectors * np.exp(-1j * time * values)) @ vectors.conj().T
    note = "pauliexp of terms that do not commute is computed exactly, where IonQ approximates it"
    return [(qk.UnitaryGate(matrix), tuple(range(size)))], (note,)


_QIS: Final[dict[str, _Kind]] = {
    "x": _fixed(qk.XGate),
    "not": _fixed(qk.XGate),
    "cnot": _fixed(qk.XGate),
    "y": _fixed(qk.YGate),
    "z": _fixed(qk.ZGate),
    "h": _fixed(qk.HGate),
    "s": _fixed(qk.SGate),
    "si": _fixed(qk.SdgGate),
    "t": _fixed(qk.TGate),
    "ti": _fixed(qk.TdgGate),
    "v": _fixed(qk.SXGate),
    "vi": _fixed(qk.SXdgGate),
    "rx": _rotation(qk.RXGate),
    "ry": _rotation(qk.RYGate),
    "rz": _rotation(qk.RZGate),
    "xx": _rotation(qk.RXXGate, 2),
    "yy": _rotation(qk.RYYGate, 2),
    "zz": _rotation(qk.RZZGate, 2),
    "swap": _Kind(2, lambda: [(qk.SwapGate(), (0, 1))]),
}
_NATIVE: Final[dict[str, _Kind]] = {
    "gpi": _Kind(1, _gpi, ("phase",)),
    "gpi2": _Kind(1, _gpi2, ("phase",)),
    "ms": _Kind(2, _ms, ("phases", "angle")),
    "zz": _Kind(2, _native_zz, ("angle",)),
}
_GATESETS: Final = {"qis": _QIS, "native": _NATIVE}
