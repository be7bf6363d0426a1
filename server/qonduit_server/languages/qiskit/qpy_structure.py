# SPDX-License-Identifier: Apache-2.0
"""Checks of a QPY file before Qiskit loads it: sizes against its length, names against allowlists.

Qiskit allocates the declared sizes and instantiates the named classes. This module walks every record without creating
objects, and rejects sizes beyond the file or the limits of a program.
"""

from __future__ import annotations

import struct
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import unsupported
from qonduit_server.ir.limits import MAX_CLBITS, MAX_QUBITS, too_large
from qonduit_server.languages.qiskit import qpy_values
from qonduit_server.languages.qiskit.qpy_values import Cursor, broken

#: The supported versions: the first in which no text is evaluated, and the last one known.
VERSIONS: Final = range(13, 19)
#: Maximum nesting of bodies and definitions: Qiskit's reader recurses into them.
_MAX_NESTING: Final = 30
#: Stands for a bit that is in a register but not in the circuit.
_NOWHERE: Final = (1 << 32) - 1

_FILE: Final = struct.Struct("!6sBBBBQcc")
_CIRCUIT: Final = struct.Struct("!HcHIIQIQI")
_REGISTER: Final = struct.Struct("!c?IH?")
_VARIABLE: Final = struct.Struct("!16scHc")
_CUSTOM: Final = struct.Struct("!HcIIBQIIQ")
_INSTRUCTION: Final = struct.Struct("!HHHIIBHqII")
_LAYOUT: Final = struct.Struct("!BiiiIi")
_EVOLUTION: Final = struct.Struct("!Q?cQQ")
_OBSERVABLE: Final = struct.Struct("!IQQQQ")

#: Qiskit's classes that do not expand small parameters to large objects.
_NAMES: Final = (
    "if_else while_loop for_loop switch_case break_loop continue_loop box IfElseOp WhileLoopOp ForLoopOp SwitchCaseOp "
    "BreakLoopOp ContinueLoopOp BoxOp "
    "Barrier Measure Reset Delay Store Initialize StatePreparation UCRXGate UCRYGate UCRZGate "
    "DiagonalGate PermutationGate PauliGate UnitaryGate MCXGate MCXGrayCode MCXRecursive MCXVChain "
    "MCPhaseGate MCU1Gate QFTGate LinearFunction Clifford HamiltonianGate PauliProductMeasurement "
    "pauli_product_measurement PauliProductRotationGate pauli_product_rotation RVGate RCCXGate RC3XGate C3XGate "
    "C3SXGate C4XGate GraphStateGate "
    "HGate IGate XGate YGate ZGate PhaseGate RGate RXGate RYGate RZGate SGate SdgGate SXGate SXdgGate TGate TdgGate "
    "UGate U1Gate U2Gate U3Gate CHGate CXGate CYGate CZGate DCXGate ECRGate SwapGate iSwapGate CPhaseGate CRXGate "
    "CRYGate CRZGate CSGate CSdgGate CSXGate CUGate CU1Gate CU3Gate RXXGate RYYGate RZZGate RZXGate XXMinusYYGate "
    "XXPlusYYGate CCXGate CCZGate CSwapGate GlobalPhaseGate"
)
_CLASSES: Final = frozenset(_NAMES.split())
_SYNTHESES: Final = frozenset(("LieTrotter", "SuzukiTrotter", "ProductFormula", "MatrixExponential"))


def check(data: bytes) -> None:
    """Check a whole file.

    Raises:
        ProgramError: the file is not QPY, or has unsupported content.
    """
    if data[:6] != b"QISKIT":
        raise ProgramError("WRONG_LANGUAGE", "this is not a QPY file: those begin with QISKIT (qpy.dump writes them)")
    if len(data) > 6 and data[6] not in VERSIONS:
        last = VERSIONS[-1]
        raise ProgramError(
            "UNSUPPORTED_CONSTRUCT",
            f"QPY version {data[6]} is not supported, only {VERSIONS[0]} to {last}: write the circuit with Qiskit 1.3 "
            f"or newer, qpy.dump(circuit, file, version={VERSIONS[0] if data[6] < VERSIONS[0] else last})",
        )
    cursor = Cursor(data)
    _, version, _, _, _, programs, symbols, kind = cursor.take(_FILE)
    if kind != b"q":
        raise unsupported("the file contains a program that is not a circuit (pulse schedules are not supported)")
    if programs != 1:
        raise unsupported(f"the file contains {programs} circuits: send one circuit a program")
    if symbols not in (b"p", b"e"):
        raise broken("its symbols have an unknown encoding")
    cursor.version = version
    if version >= 16:
        (offset,) = cursor.take(qpy_values.WHOLE)
        if offset != cursor.at:
            raise broken("its circuit does not begin at the declared offset")
    _circuit(cursor, 0)


def _circuit(cursor: Cursor, depth: int) -> None:
    """Check a circuit, to the cursor's end."""
    if depth > _MAX_NESTING:
        raise too_large(f"bodies and definitions are nested more than {_MAX_NESTING} deep")
    name, phase, phase_size, qubits, clbits, metadata, registers, instructions, variables = cursor.take(_CIRCUIT)
    if qubits > MAX_QUBITS or clbits > MAX_CLBITS:
        raise too_large(f"a circuit has more than {MAX_QUBITS} qubits or {MAX_CLBITS} classical bits")
    cursor.budget.spend(bits=qubits + clbits, operations=instructions + 1)
    cursor.text(name)
    _value(cursor, phase, cursor.part(phase_size), depth)
    cursor.skip(metadata)
    for _ in range(registers):
        _register(cursor, {b"q": qubits, b"c": clbits})
    for _ in range(variables):
        _, _, size, kind = cursor.take(_VARIABLE)
        qpy_values.check_type(cursor, kind)
        cursor.text(size)
    if cursor.version >= 15 and cursor.take(qpy_values.COUNT)[0]:
        raise unsupported("annotations are not read: take them out of the circuit")
    if cursor.version >= 18:
        for _ in range(cursor.take(qpy_values.SHORT)[0]):
            qpy_values.check_vector(cursor)
    (customs,) = cursor.take(qpy_values.WHOLE)
    names = {_custom(cursor, depth) for _ in range(customs)}
    # Base gates of custom gates may be custom too.
    for each in cursor.bases:
        each.end_at(lambda part: _instruction(part, names, depth, bits=False))
    cursor.bases = []
    for _ in range(instructions):
        _instruction(cursor, names, depth)
    if cursor.version < 18 and cursor.take(qpy_values.SHORT)[0]:
        raise unsupported("pulse calibrations are not read: take them out of the circuit")
    _layout(cursor)
    cursor.finish()


def _register(cursor: Cursor, sizes: dict[bytes, int]) -> None:
    kind, _, size, name, _ = cursor.take(_REGISTER)
    if kind == b"a":  # ancillas; Qiskit 2 writes this letter in files of all versions
        kind = b"q"
    if kind not in sizes:
        raise broken("a register is neither of qubits nor of classical bits")
    # From version 18 on a register may be given by its first bit and its size.
    whole = cursor.version >= 18 and cursor.take(qpy_values.BYTE)[0] != 0
    cursor.text(name)
    places = cursor.numbers("I" if cursor.version >= 18 else "q", 1 if whole else size)
    if whole:
        places = (places[0], places[0] + size - 1)
    # The body of a condition may have only a part of a register: the indices of its other bits are -1.
    if any(place not in (-1, _NOWHERE) and not 0 <= place < sizes[kind] for place in places):
        raise broken("a register has bits that the circuit does not have")
    cursor.budget.spend(bits=size)


def _custom(cursor: Cursor, depth: int) -> str:
    """Check the definition of a custom gate; return its name."""
    size, kind, qubits, clbits, defined, length, controls, _, base = cursor.take(_CUSTOM)
    if qubits > MAX_QUBITS or clbits > MAX_CLBITS or controls > qubits:
        raise too_large("a gate has more qubits or classical bits than a program may")
    name = cursor.text(size)
    body = cursor.part(length)
    if kind not in b"igcap":
        raise broken("a gate is of an unknown kind")
    if defined and name.startswith("###PauliEvolutionGate_"):
        _evolution(body, depth)
    elif defined:
        _circuit(body, depth + 1)
    if base:
        cursor.bases.append(cursor.part(base))
    return name


def _evolution(cursor: Cursor, depth: int) -> None:
    """Check the parts of a PauliEvolutionGate."""
    number, _, time, time_size, synthesis = cursor.take(_EVOLUTION)
    terms = 0
    for _ in range(number):
        if cursor.version >= 17 and cursor.take(qpy_values.BYTE)[0]:
            qubits, coefficients, letters, indices, bounds = cursor.take(_OBSERVABLE)
            if qubits > MAX_QUBITS:
                raise too_large(f"an observable has more than {MAX_QUBITS} qubits")
            letter = 1 if cursor.version >= 18 else 2
            cursor.skip(8 * coefficients + letter * letters + 4 * indices + 8 * bounds)
            terms += bounds
        else:
            (size,) = cursor.take(qpy_values.WHOLE)
            part = cursor.part(size)
            terms += qpy_values.check_array(part)
    _value(cursor, time, cursor.part(time_size), depth)
    settings = qpy_values.json_object(cursor.part(synthesis))
    inner = settings.get("settings")
    if settings.get("class") not in _SYNTHESES or not isinstance(inner, dict):
        raise unsupported("a PauliEvolutionGate has an unsupported synthesis: decompose it first")
    order, reps = inner.get("order", 1), inner.get("reps", 1)
    if not isinstance(order, int) or not isinstance(reps, int) or not 0 < order <= 8 or reps < 1:
        raise unsupported("the order of a Trotter formula is at most 8")
    cursor.budget.spend(operations=terms * reps * 5 ** (order // 2))
    cursor.finish()


def _instruction(cursor: Cursor, customs: set[str], depth: int, bits: bool = True) -> None:
    size, label, parameters, qubits, clbits, extras, condition, _, controls, _ = cursor.take(_INSTRUCTION)
    name = cursor.text(size)
    if name not in customs and name not in _CLASSES:
        shown = name if len(name) < 60 else name[:60] + "..."
        raise unsupported(f"the operation {shown!r} is not supported in QPY: decompose it before writing the circuit")
    if controls > 31 or controls > max(qubits, 1):
        raise too_large(f"{name!r} has more controls than are read")
    cursor.text(label)
    match extras & 3:
        case 1:
            cursor.skip(condition)
        case 2:
            _generic(cursor, depth)
    if extras & 0x80:
        raise unsupported("annotations are not read: take them out of the circuit")
    if bits:
        cursor.skip(5 * (qubits + clbits))
    for place in range(parameters):
        _generic(cursor, depth, duration=place == 0 and name in ("box", "BoxOp"))


def _generic(cursor: Cursor, depth: int, duration: bool = False) -> None:
    kind, size = cursor.take(qpy_values.GENERIC)
    part = cursor.part(size)
    if not (duration and kind == b"t"):  # a tuple has the same letter
        _value(cursor, kind, part, depth)


def _value(cursor: Cursor, kind: bytes, part: Cursor, depth: int) -> None:
    """Check a value of an instruction or of a circuit."""
    match kind:
        case b"q":
            _circuit(part, depth + 1)
        case b"t":
            if depth > _MAX_NESTING:
                raise too_large(f"tuples are nested more than {_MAX_NESTING} deep")
            (number,) = part.take(qpy_values.WHOLE)
            for _ in range(number):
                _generic(part, depth + 1)
        case _:
            qpy_values.check(kind, part)


def _layout(cursor: Cursor) -> None:
    _, initial, mapping, final, registers, _ = cursor.take(_LAYOUT)
    for _ in range(registers):
        _register(cursor, {b"q": MAX_QUBITS, b"c": MAX_CLBITS})
    for _ in range(max(initial, 0)):
        _, name = cursor.take(qpy_values.LAYOUT_ITEM)
        cursor.text(max(name, 0))
    cursor.skip(4 * (max(mapping, 0) + max(final, 0)))
