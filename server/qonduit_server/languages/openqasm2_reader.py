# SPDX-License-Identifier: Apache-2.0
"""Reader of OpenQASM 2.0 (arXiv:1707.03429), by Qiskit's parser behind checks that bound its cost."""

from __future__ import annotations

import math
import re
from typing import Final

from qiskit import qasm2
from qiskit.circuit import ControlFlowOp, Instruction, Operation, QuantumCircuit
from qiskit.circuit.library import RYYGate

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.limits import MAX_CLBITS, MAX_DEPTH, MAX_OPERATIONS, MAX_QUBITS
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs
from qonduit_server.languages.source_text import (
    Position,
    check_language,
    check_nesting,
    place,
    refusal,
    without_comments,
)

_REGISTER: Final = re.compile(r"\b([qc])reg\s+(\w+)\s*\[\s*(\d+)\s*\]")
_INCLUDE: Final = re.compile(r"\binclude\b\s*(\"[^\"\n]*\"?|[^;\s]*)")
_DEFINITION: Final = re.compile(r"\b(gate|opaque)\s+([A-Za-z]\w*)([^{;]*)(?:\{([^}]*)\})?")
_STATEMENT: Final = re.compile(r"[^;{}]+")
_NAME: Final = re.compile(r"\s*(?:if\s*\([^)]*\)\s*)?([A-Za-z]\w*)")
_OPERAND: Final = re.compile(r"([A-Za-z]\w*)\s*(\[)?")
_LIBRARY: Final = frozenset(each.name for each in qasm2.LEGACY_CUSTOM_INSTRUCTIONS) | {"ryy", "U", "CX"}
_PLACED: Final = re.compile(r"^<input>:(\d+),(\d+): (.*)$", re.DOTALL)

#: Patterns of constructs, by their names in `ir.requirements`.
_CONSTRUCTS: Final = (("conditionals", re.compile(r"\bif\s*\(")), ("reset", re.compile(r"\breset\b")))

#: Gates that exporters use as part of qelib1.inc, although its published text does not define them.
_CUSTOM: Final = (
    *(each for each in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if each.name != "delay"),
    qasm2.CustomInstruction("ryy", 1, 2, RYYGate, builtin=True),
)


def read(text: str, inputs: Inputs = NO_INPUTS, _gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read an OpenQASM 2 program; the gates that it defines are always kept whole.

    Raises:
        ProgramError: with line and column if known.
    """
    code = without_comments(text)
    check_language(code, version=2)
    check_nesting(code)
    _check_includes(code)
    _check_cost(code)
    defined = {match.group(2) for match in _DEFINITION.finditer(code)}
    custom = [each for each in _CUSTOM if each.name not in defined]
    renamed, names = _rename_registers(code)
    try:
        quantum = qasm2.loads(renamed, include_path=(), custom_instructions=custom, strict=False)
    except qasm2.QASM2ParseError as error:
        raise _refusal(error, renamed, names) from error
    except TypeError as error:
        # The parser does not count the parameters of gates that are passed to it.
        raise _miscounted(code) from error
    except BaseException as error:
        # A panic of the parser's Rust code is a BaseException, not an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ProgramError("SYNTAX_ERROR", "the parser failed on this program; check its numbers and names") from error
    _check_gates(quantum)
    index = {clbit: number for number, clbit in enumerate(quantum.clbits)}
    return Circuit(
        quantum,
        tuple(
            ClassicalRegister(names.get(each.name, each.name), tuple(index[clbit] for clbit in each))
            for each in quantum.cregs
        ),
        unused(inputs, ()),
        {name: place(code, found.start()).line for name, word in _CONSTRUCTS if (found := word.search(code))},
    )


def _rename_registers(code: str) -> tuple[str, dict[str, str]]:
    """Rename registers that have the name of a library gate: the parser keeps both in one namespace.

    Returns:
        The program, and the original names by the new ones.
    """
    clashes = {match.group(2) for match in _REGISTER.finditer(code)} & _LIBRARY
    if not clashes:
        return code, {}
    fresh = {name: f"{name}_register" for name in clashes}
    while any(re.search(rf"\b{new}\b", code) for new in fresh.values()):
        fresh = {name: f"{new}_" for name, new in fresh.items()}
    gates = set()
    statements = _without_definitions(code)
    for match in _STATEMENT.finditer(statements):
        name = _NAME.match(match.group())
        if name is not None:
            gates.add(match.start() + name.start(1))

    def rename(match: re.Match[str]) -> str:
        keeps = match.start() in gates or statements[match.start()] == " "
        return match.group() if keeps else fresh.get(match.group(), match.group())

    return re.sub(r"(?<!\w)[A-Za-z]\w*", rename, code), {new: name for name, new in fresh.items()}


def _check_includes(code: str) -> None:
    for match in _INCLUDE.finditer(code):
        if match.group(1) != '"qelib1.inc"':
            where = place(code, match.start())
            raise ProgramError(
                "UNSUPPORTED_CONSTRUCT",
                f'line {where.line}: only include "qelib1.inc" is read; put other definitions into the program itself',
                line=where.line,
                column=where.column,
            )


def _check_cost(code: str) -> None:
    """Check the limits of qubits, bits and expanded operations before anything is allocated."""
    sizes: dict[str, int] = {}
    totals = {"q": 0, "c": 0}
    for match in _REGISTER.finditer(code):
        kind, name, digits = match.groups()
        size = int(digits) if len(digits) < 12 else 10**12
        sizes[name] = size
        totals[kind] += size
        limit, what = (MAX_QUBITS, "qubits") if kind == "q" else (MAX_CLBITS, "classical bits")
        if totals[kind] > limit:
            raise _too_large(f"it declares more than {limit} {what}", place(code, match.start()))
    weights: dict[str, tuple[int, int]] = {}
    for match in _DEFINITION.finditer(code):
        if match.group(1) == "gate":
            weight, depth = 0, 0
            for statement in (match.group(4) or "").split(";"):
                inner, below = _weight(statement, weights)
                weight, depth = weight + inner, max(depth, below)
            weights[match.group(2)] = (weight, depth + 1)
            if depth >= MAX_DEPTH:
                raise _too_large(f"gates are nested more than {MAX_DEPTH} deep", place(code, match.start()))
    total = 0
    for match in _STATEMENT.finditer(_without_definitions(code)):
        statement = match.group()
        inner, _ = _weight(statement, weights)
        broadcast = max(
            (sizes.get(operand.group(1), 1) for operand in _OPERAND.finditer(statement) if not operand.group(2)),
            default=1,
        )
        total += inner * max(1, broadcast)
        if total > MAX_OPERATIONS:
            raise _too_large(f"it unrolls to more than {MAX_OPERATIONS} operations", place(code, match.start()))


def _without_definitions(code: str) -> str:
    """Blank out the gate definitions."""
    return _DEFINITION.sub(lambda match: " " * len(match.group()), code)


def _weight(statement: str, weights: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return the number of operations that a statement unrolls to, and its depth; library gates count as one."""
    name = _NAME.match(statement)
    return weights.get(name.group(1), (1, 0)) if name else (0, 0)


def _too_large(why: str, where: Position) -> ProgramError:
    return ProgramError(
        "TOO_LARGE", f"line {where.line}: the program is too large: {why}", line=where.line, column=where.column
    )


def _check_gates(quantum: QuantumCircuit) -> None:
    """Reject parameters that are not finite; definitions of the program's gates are lazy, so evaluate them here."""
    circuits = [quantum]
    seen = set()
    while circuits:
        for instruction in circuits.pop().data:
            operation = instruction.operation
            _check_numbers(operation)
            if isinstance(operation, ControlFlowOp):
                circuits.extend(operation.blocks)
            elif type(operation).__module__ == qasm2.parse.__name__:
                key = (operation.name, *operation.params)
                if key not in seen:
                    seen.add(key)
                    circuits.extend(_definition(operation))


def _check_numbers(operation: Operation) -> None:
    for number in getattr(operation, "params", ()):
        if isinstance(number, float) and not math.isfinite(number):
            raise ProgramError("SYNTAX_ERROR", f"a parameter of {operation.name!r} is not a finite number")


def _definition(gate: Instruction) -> list[QuantumCircuit]:
    try:
        definition = gate.definition
    except (qasm2.QASM2ParseError, ArithmeticError, ValueError, TypeError) as error:
        raise ProgramError("SYNTAX_ERROR", f"the gate {gate.name!r} cannot be computed: {error}") from error
    return [] if definition is None else [definition]


def _miscounted(code: str) -> ProgramError:
    """Return the error for a call without the parameters that its gate takes."""
    takes = {each.name: each.num_params for each in _CUSTOM}
    for match in _STATEMENT.finditer(code):
        name = _NAME.match(match.group())
        if name is None or not takes.get(name.group(1)):
            continue
        if not match.group()[name.end() :].lstrip().startswith("("):
            message = f"{name.group(1)!r} takes {takes[name.group(1)]} parameters, and is given none"
            return refusal("SYNTAX_ERROR", message, place(code, match.start() + name.start(1)))
    return ProgramError("SYNTAX_ERROR", "a gate is given too few or too many parameters")


def _refusal(error: qasm2.QASM2ParseError, code: str, names: dict[str, str]) -> ProgramError:
    """Return an error with Qiskit's message, without its location; unknown gates have their own reason."""
    match = _PLACED.match(error.message)
    if match is None:
        return ProgramError("SYNTAX_ERROR", error.message)
    line, column, message = int(match.group(1)), int(match.group(2)) + 1, match.group(3)
    for new, name in names.items():
        message = message.replace(repr(new), repr(name))
    lines = code.split("\n")
    before = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]]).rstrip() if line <= len(lines) else ""
    reason = "SYNTAX_ERROR"
    unknown = re.match(r"cannot use non-builtin custom instruction ('.*?') before definition", message)
    if unknown is not None:
        message = f"{unknown.group(1)} is not defined in this scope"
    if "is not defined in this scope" in message and (not before or before[-1] in ";{})"):
        reason = "UNKNOWN_GATE"
        message += ": define it with `gate`, or use a gate of qelib1.inc"
        if "qelib1.inc" not in code:
            message += ' (the program does not include "qelib1.inc")'
    return refusal(reason, message, Position(line, column))
