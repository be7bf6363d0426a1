# SPDX-License-Identifier: Apache-2.0
"""Reader of Amazon Braket's OpenQASM 3: its own gates, pragmas, and programs without measurements."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from openqasm3 import ast
from qiskit.circuit import library as qk
from qiskit.quantum_info.operators.predicates import is_unitary_matrix

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.classical.values import unsupported, wrong
from qonduit_server.ir.formula import Formula
from qonduit_server.languages.braket import feedback, noise_pragmas
from qonduit_server.languages.braket.braket_gates import BRAKET
from qonduit_server.languages.openqasm3 import measurement, openqasm3_reader, operands, statements
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs

#: The result register of qubits that the program measures into no bits.
MEASURED: Final = "meas"
#: Maximum number of qubits of a gate given as a matrix.
_MAX_MATRIX_QUBITS: Final = 8

_UNITARY: Final = re.compile(r"\s*unitary\s*\(\s*\[(.*)\]\s*\)\s*(.*)", re.DOTALL)
_ROW: Final = re.compile(r"\[([^][]*)\]")
_MATRIX: Final = re.compile(r"\[\s*\[[^][]*\](?:\s*,\s*\[[^][]*\])*\s*\]")
_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_REAL: Final = re.compile(rf"(-?)\s*({_NUMBER})")
_IMAGINARY: Final = re.compile(rf"(-?)\s*({_NUMBER})\s*im")
_BOTH: Final = re.compile(rf"(-?\s*{_NUMBER})\s*([-+])\s*(-?\s*{_NUMBER}\s*im)")
_OPERAND: Final = re.compile(r"\s*(?:\$\d{1,9}|[A-Za-z_]\w*(?:\s*\[\s*-?\d{1,9}\s*\])?)\s*", re.ASCII)


def read(text: str, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a program in Braket's dialect; gates of these names that it defines are kept whole.

    Raises:
        ProgramError: with line and column if known.
    """
    context = statements.start(inputs, gate_names)
    context.library = dict(BRAKET)
    context.operations = feedback.operations()
    context.pragma = _pragma
    context.first_bit_is_highest = context.division_rounds_down = True
    openqasm3_reader.walk(context, text)
    if context.physical and len(context.physical) < context.builder.qubits:
        raise unsupported("a program uses either declared qubits or physical ones ($0), not both")
    return statements.finish(context, _registers(context))


def _registers(context: EvaluationContext) -> tuple[ClassicalRegister, ...]:
    """Return the program's registers; if nothing is measured into them, the register that Braket reports."""
    if context.measurements > len(context.unnamed):
        if context.unnamed:
            context.warn("what is measured into no bit is not shown")
        return statements.registers(context)
    if context.unnamed:
        context.warn(f"what is measured into no bit is shown as the register {MEASURED!r}, in the order of measurement")
        return (ClassicalRegister(MEASURED, tuple(_place(each) for each in context.unnamed)),)
    if not context.builder.qubits:
        return statements.registers(context)
    # In ascending order of qubit numbers, not in order of use.
    physical = sorted(context.physical, key=lambda name: int(name[1:]))
    places = [context.physical[name] for name in physical] or list(range(context.builder.qubits))
    measured = measurement.measure(context, places).formulas
    unused = ", and its bits are not shown" if statements.registers(context) else ""
    context.warn(f"the program measures nothing: all qubits are measured at its end, as {MEASURED!r}{unused}")
    return (ClassicalRegister(MEASURED, tuple(_place(each) for each in measured)),)


def _place(formula: Formula) -> int | Formula:
    return formula.number if formula.kind == "bit" else formula


def _pragma(context: EvaluationContext, node: ast.Pragma) -> None:
    owner, _, command = node.command.strip().partition(" ")
    kind = command.split("(")[0].split()[:1]
    if owner != "braket" or not kind:
        context.warn(f"the pragma {_shortened(node.command)!r} is ignored")
        return
    match kind[0]:
        case "verbatim":
            pass  # gates of the box are applied verbatim, as all gates are
        case "unitary":
            _unitary(context, command)
        case "result":
            asked = command.split(None, 1)[1] if len(command.split(None, 1)) > 1 else ""
            context.warn(f"results are counts: the result {_shortened(asked)!r} is not computed")
        case "noise":
            _noise(context, command)
        case _:
            raise unsupported(f"the pragma {_shortened(node.command)!r} is not known")


def _unitary(context: EvaluationContext, command: str) -> None:
    """Apply a matrix to qubits; the first qubit is the highest bit of rows and columns."""
    match = _UNITARY.fullmatch(command)
    if match is None:
        raise wrong("a pragma 'braket unitary' is written unitary([[1, 0], [0, 1im]]) q[0]")
    rows = _ROW.findall(match[1])
    size = len(rows)
    places = [place for each in match[2].split(",") for place in _qubits(context, each)]
    if len(places) > _MAX_MATRIX_QUBITS:
        raise unsupported(f"a matrix acts on more than {_MAX_MATRIX_QUBITS} qubits")
    if len(set(places)) != len(places):
        raise wrong("a matrix acts on one qubit twice")
    if size != 1 << len(places) or re.sub(r"[\s,]", "", _ROW.sub("", match[1])):
        raise wrong(f"a matrix on {len(places)} qubits has {1 << len(places)} rows")
    matrix: np.ndarray[Any, Any] = np.array([_row(row, size) for row in rows])
    if not np.isfinite(matrix).all() or not is_unitary_matrix(matrix):
        raise wrong("the matrix of a pragma 'braket unitary' is not unitary")
    context.builder.spend(size * size // 64)
    context.emit(qk.UnitaryGate(matrix), tuple(reversed(places)))


def _noise(context: EvaluationContext, command: str) -> None:
    """Apply a channel to qubits; of Kraus operators, the first qubit is the highest bit of rows and columns."""
    match = noise_pragmas.NOISE.fullmatch(command)
    if match is None:
        raise wrong("a pragma 'braket noise' is written bit_flip(0.1) q[0]")
    name, arguments, operands_ = match.groups()
    places = [place for each in operands_.split(",") for place in _qubits(context, each)]
    if len(set(places)) != len(places):
        raise wrong("noise acts on one qubit twice")
    if name == "kraus":
        matrices = [_rows(each) for each in _MATRIX.findall(arguments)]
        if re.sub(r"[\s,]", "", _MATRIX.sub("", arguments)):
            raise wrong("Kraus operators are written kraus([[1, 0], [0, 1]], ...)")
        channel = noise_pragmas.kraus(matrices, len(places))
        context.builder.spend(len(matrices))
        places.reverse()
    else:
        channel = noise_pragmas.channel(name, [_probability(each) for each in arguments.split(",")], len(places))
    context.emit(channel, tuple(places))


def _rows(text: str) -> list[list[complex]]:
    rows = _ROW.findall(text)
    return [_row(row, len(rows)) for row in rows]


def _probability(text: str) -> float:
    value = _entry(text)
    if value.imag:
        raise wrong(f"{_shortened(text)!r} is not a probability")
    return value.real


def _row(text: str, size: int) -> list[complex]:
    entries = text.split(",")
    if len(entries) != size:
        raise wrong(f"a row of a matrix has {len(entries)} entries, not {size}")
    return [_entry(each) for each in entries]


def _entry(text: str) -> complex:
    text = text.strip()
    if match := _BOTH.fullmatch(text):
        real, imaginary = _entry(match[1]), _entry(match[3])
        return real - imaginary if match[2] == "-" else real + imaginary
    if match := _IMAGINARY.fullmatch(text):
        return complex(0, float(match[1] + match[2]))
    if match := _REAL.fullmatch(text):
        return complex(float(match[1] + match[2]))
    raise wrong(f"{_shortened(text)!r} is not a number as in 0.5 - 0.5im")


def _qubits(context: EvaluationContext, text: str) -> tuple[int, ...]:
    """Return the qubits that an operand of a pragma names."""
    if _OPERAND.fullmatch(text) is None:
        raise ProgramError("SYNTAX_ERROR", f"{_shortened(text.strip())!r} is not a qubit")
    name, bracket, index = text.strip().partition("[")
    node: ast.Identifier | ast.IndexedIdentifier = ast.Identifier(name.strip())
    if bracket:
        place = int(index.rstrip("] \t"))
        literal: ast.Expression = ast.IntegerLiteral(abs(place))
        if place < 0:
            literal = ast.UnaryExpression(ast.UnaryOperator["-"], literal)
        node = ast.IndexedIdentifier(node, [[literal]])
    return operands.qubits(context, node).places


def _shortened(text: str) -> str:
    return text if len(text) < 60 else text[:60] + "..."
