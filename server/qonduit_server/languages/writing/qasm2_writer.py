# SPDX-License-Identifier: Apache-2.0
"""Writer of OpenQASM 2.0, with the gates of qelib1.inc."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from qonduit_server.ir.builder import Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import TRUE, Formula, bit, conjunction, constant, negation
from qonduit_server.ir.visitor import (
    BarrierStep,
    BranchStep,
    DelayStep,
    GateStep,
    LoopStep,
    MeasureStep,
    Plain,
    ResetStep,
    bits_written,
    every,
    walk,
)
from qonduit_server.languages.writing.register_layout import (
    Layout,
    check_sizes,
    dropped,
    free_name,
    identifiers,
    lay_out,
    refuse,
)
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

_TITLE: Final = "OpenQASM 2"
_NAME: Final = re.compile(r"[a-z]\w*", re.ASCII)
#: The gates of the published qelib1.inc; only some readers know those of later versions.
_SAME: Final = (
    "u3", "u2", "u1", "cx", "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "rx", "ry", "rz", "cz", "cy", "ch", "ccx",
    "crz", "cu1", "cu3",
)  # fmt: skip
_GATES: Final = {**{name: name for name in _SAME}, "u": "u3", "p": "u1", "cp": "cu1"}
#: Keywords of the language, and names that readers predefine.
_RESERVED: Final = frozenset(_GATES.values()) | {
    "qreg", "creg", "gate", "opaque", "if", "barrier", "measure", "reset", "include", "pi", "sin", "cos", "tan", "exp",
    "ln", "sqrt", "u0", "u", "p", "sx", "sxdg", "swap", "cswap", "crx", "cry", "cp", "csx", "cu", "rxx", "ryy", "rzz",
    "rccx", "rc3x", "c3x", "c3sqrtx", "c4x", "delay",
}  # fmt: skip
#: Maximum number of bits of a register that is compared with each of several values.
_MAX_BITS: Final = 5


class _CannotSay(Exception):
    """A condition is not a comparison of one register."""


def write(circuit: Circuit) -> WriteResult:
    """Write a program as OpenQASM 2.

    Conditions are comparisons of whole registers. Programs with other conditions are measured at the end instead.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, it has a loop that ends by a measurement.
    """
    check_sizes(circuit, _TITLE)
    steps = walk(circuit.quantum, _TITLE, _GATES)
    if any(isinstance(step, LoopStep) for step in every(steps)):
        raise refuse(_TITLE, "loop that ends by a measurement", "QASM3")
    try:
        return _write(circuit, steps)
    except _CannotSay:
        ending = at_the_end(circuit, _TITLE, _GATES)
        written = _write(ending, walk(ending.quantum, _TITLE, _GATES))
        return WriteResult(
            written.source, (*written.warnings, *dropped(steps, (DelayStep,), _TITLE), ending.warnings[-1])
        )


def _write(circuit: Circuit, steps: Sequence[Plain]) -> WriteResult:
    layout = lay_out(circuit, steps, keep_unread=True)
    if not layout.plain or any(isinstance(step, Write) for step in every(steps)):
        raise _CannotSay
    names, warnings = identifiers([each.name for each in circuit.registers], _NAME, _RESERVED, _TITLE)
    qubits = free_name("q", names)
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";']
    if circuit.quantum.num_qubits:
        lines.append(f"qreg {qubits}[{circuit.quantum.num_qubits}];")
    lines += [f"creg {name}[{len(each.bits)}];" for name, each in zip(names, circuit.registers, strict=True)]
    lines += _Lines(circuit, layout, names, qubits).block(steps, TRUE)
    return WriteResult("\n".join(lines) + "\n", (*warnings, *dropped(steps, (DelayStep,), _TITLE)))


class _Lines:
    def __init__(self, circuit: Circuit, layout: Layout, names: list[str], qubits: str) -> None:
        self._circuit = circuit
        self._layout = layout
        self._names = names
        self._qubits = qubits

    def block(self, steps: Sequence[Plain], guard: Formula) -> Iterator[str]:
        """Yield the lines of steps under a condition, none of which changes the condition's bits."""
        prefixes = self._prefixes(guard)
        for step in steps:
            if isinstance(step, BranchStep):
                written = bits_written((step,))
                for body, condition in ((step.then, step.condition), (step.otherwise, negation(step.condition))):
                    if body:
                        yield from self._branch(body, conjunction((guard, condition)), written, step.otherwise == ())
                continue
            if guard != TRUE and isinstance(step, BarrierStep):
                continue
            line = self._line(step)
            if line:
                yield from (prefix + line for prefix in prefixes)

    def _branch(self, body: tuple[Plain, ...], guard: Formula, written: frozenset[int], alone: bool) -> Iterator[str]:
        register = self._register(guard)
        if register is not None and not written.isdisjoint(self._bits(register)):
            # A condition is evaluated before each operation, so only a single operation may change its bits.
            alone = alone and len(body) == 1 and isinstance(body[0], MeasureStep)
            if not alone or len(self._prefixes(guard)) != 1:
                raise _CannotSay
        yield from self.block(body, guard)

    def _register(self, guard: Formula) -> int | None:
        """Return the register that a condition compares; None for a constant condition."""
        registers = {self._layout.homes[clbit][0] for clbit in guard.bits}
        if len(registers) > 1:
            raise _CannotSay
        return registers.pop() if registers else None

    def _bits(self, register: int) -> frozenset[int]:
        return frozenset(clbit for clbit, (number, _) in self._layout.homes.items() if number == register)

    def _prefixes(self, guard: Formula) -> list[str]:
        """Return `if (c == 1) ` for each value under which a condition holds."""
        register = self._register(guard)
        if register is None:
            return [""] if guard == TRUE else []
        name, size = self._names[register], len(self._circuit.registers[register].bits)
        exact = _value(guard, {clbit: self._layout.homes[clbit][1] for clbit in guard.bits}, size)
        if exact is not None:
            return [f"if ({name} == {exact}) "]
        if size > _MAX_BITS:
            raise _CannotSay
        return [f"if ({name} == {value}) " for value in range(1 << size) if self._holds(guard, value)]

    def _holds(self, guard: Formula, value: int) -> bool:
        return guard.substitute(lambda clbit: constant(value >> self._layout.homes[clbit][1] & 1)) == TRUE

    def _line(self, step: Plain) -> str:
        match step:
            case GateStep():
                numbers = f"({', '.join(map(repr, step.numbers))})" if step.numbers else ""
                return f"{_GATES[step.name]}{numbers} {self._operands(step.qubits)};"
            case MeasureStep():
                register, place = self._layout.homes[step.clbit]
                return f"measure {self._operands((step.qubit,))} -> {self._names[register]}[{place}];"
            case ResetStep():
                return f"reset {self._operands((step.qubit,))};"
            case BarrierStep():
                return f"barrier {self._operands(step.qubits)};"
            case DelayStep():
                return ""
        raise AssertionError(step)

    def _operands(self, qubits: Sequence[int]) -> str:
        return ", ".join(f"{self._qubits}[{qubit}]" for qubit in qubits)


def _value(guard: Formula, places: dict[int, int], size: int) -> int | None:
    """Return the value that a condition requires of a register of `size` bits, if that is obvious."""
    literals = guard.parts if guard.kind == "and" else (guard,)
    if len(literals) != size or len(places) != size:
        return None
    value = sum(1 << places[each.number] for each in literals if each.kind == "bit")
    same = conjunction(bit(k) if value >> place & 1 else negation(bit(k)) for k, place in places.items())
    return value if set(same.parts or (same,)) == set(literals) else None
