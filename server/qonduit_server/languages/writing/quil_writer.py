# SPDX-License-Identifier: Apache-2.0
"""Writer of Quil (arXiv:1608.03355 and the Quil specification)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from qonduit_server.ir.builder import Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import Formula
from qonduit_server.ir.visitor import (
    BarrierStep,
    BranchStep,
    ChannelStep,
    DelayStep,
    GateStep,
    LoopStep,
    MeasureStep,
    Plain,
    ResetStep,
    every,
    qubits_used,
    walk,
)
from qonduit_server.languages.writing.quil_noise import Channels, readout_pragmas
from qonduit_server.languages.writing.register_layout import Layout, check_sizes, dropped, identifiers, lay_out, refuse
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

_TITLE: Final = "Quil"
_NAME: Final = re.compile(r"[A-Za-z_](?:[\w-]*\w)?", re.ASCII)
_RESERVED: Final = frozenset((
    "ADD", "AND", "AS", "CALL", "CAPTURE", "CONTROLLED", "CONVERT", "DAGGER", "DECLARE", "DEFCAL", "DEFCIRCUIT",
    "DEFFRAME", "DEFGATE", "DEFWAVEFORM", "DELAY", "DIV", "EQ", "EXCHANGE", "FENCE", "FORKED", "GE", "GT", "HALT",
    "INCLUDE", "IOR", "JUMP", "JUMP-UNLESS", "JUMP-WHEN", "LABEL", "LE", "LOAD", "LT", "MATRIX", "MEASURE", "MOVE",
    "MUL", "MUT", "NEG", "NONBLOCKING", "NOP", "NOT", "OFFSET", "PAULI-SUM", "PERMUTATION", "PRAGMA", "PULSE",
    "RAW-CAPTURE", "RESET", "SEQUENCE", "SHARING", "STORE", "SUB", "WAIT", "XOR", "BIT", "OCTET", "INTEGER", "REAL",
    "TRUE", "FALSE", "OR", "pi", "i", "sin", "cos", "sqrt", "exp", "cis", "SIN", "COS", "SQRT", "EXP", "CIS", "PI",
))  # fmt: skip
#: Qiskit's standard gates, by their names in Quil; "u" is written as three gates.
GATES: Final = {
    "id": "I", "x": "X", "y": "Y", "z": "Z", "h": "H", "s": "S", "sdg": "DAGGER S", "t": "T", "tdg": "DAGGER T",
    "p": "PHASE", "u1": "PHASE", "rx": "RX", "ry": "RY", "rz": "RZ", "cx": "CNOT", "cz": "CZ", "cp": "CPHASE",
    "cu1": "CPHASE", "swap": "SWAP", "iswap": "ISWAP", "ccx": "CCNOT", "cswap": "CSWAP", "u": "",
}  # fmt: skip


def write(circuit: Circuit) -> WriteResult:
    """Write a program as Quil.

    Every register is a memory region of its name. A result contains all regions of bits, so programs that need other
    bits are measured at the end instead.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, such a program has a loop that ends by a measurement; or a readout error is
            not that of all measurements of a qubit.
    """
    check_sizes(circuit, _TITLE)
    steps = walk(circuit.quantum, _TITLE, GATES, noise=True, readout_errors=True)
    warnings = dropped(steps, (BarrierStep, DelayStep), _TITLE)
    layout = lay_out(circuit, steps)
    if layout.scratch:
        if any(isinstance(step, LoopStep) for step in every(steps)):
            raise refuse(_TITLE, "bits that are no register of the result, which this program's loops need", "QASM3")
        circuit = at_the_end(circuit, _TITLE, GATES, noise=True)
        warnings.append(circuit.warnings[-1])
        steps = walk(circuit.quantum, _TITLE, GATES, noise=True)
        layout = lay_out(circuit, steps)
    names, renamed = identifiers([each.name for each in circuit.registers], _NAME, _RESERVED, _TITLE)
    writer = _Lines(layout, names)
    body = list(writer.block(steps))
    lines = [f"DECLARE {name} BIT[{len(each.bits)}]" for name, each in zip(names, circuit.registers, strict=True)]
    lines += [*writer.channels.lines, *readout_pragmas(steps, layout)]
    lines += [f"I {qubit}" for qubit in sorted(set(range(circuit.quantum.num_qubits)) - qubits_used(steps))]
    lines += body
    for place, formula in layout.computed:
        lines += writer.assignment(writer.bit(*place), formula)
    return WriteResult("\n".join(lines) + "\n", (*renamed, *warnings))


class _Lines:
    def __init__(self, layout: Layout, names: list[str]) -> None:
        self._layout = layout
        self._names = names
        self._labels = 0
        self.channels = Channels()

    def block(self, steps: Sequence[Plain]) -> Iterator[str]:
        for step in steps:
            match step:
                case GateStep():
                    yield from gate(step, step.qubits)
                case MeasureStep():
                    yield f"MEASURE {step.qubit} {self._home(step.clbit)}".rstrip()
                case ResetStep():
                    yield f"RESET {step.qubit}"
                case ChannelStep():
                    yield self.channels.gate(step.channel, step.qubits)
                case Write():
                    if self._home(step.clbit):
                        yield from self.assignment(self._home(step.clbit), step.value)
                case BranchStep():
                    yield from self._branch(
                        step.condition, list(self.block(step.then)), list(self.block(step.otherwise))
                    )
                case LoopStep():
                    start, end = self._label("LOOP"), self._label("END")
                    yield f"LABEL {start}"
                    yield from self._unless(step.condition, end)
                    yield from self.block(step.body)
                    yield f"JUMP {start}"
                    yield f"LABEL {end}"

    def _branch(self, condition: Formula, then: list[str], otherwise: list[str]) -> Iterator[str]:
        other = self._label("ELSE" if otherwise else "END")
        yield from self._unless(condition, other)
        yield from then
        if otherwise:
            end = self._label("END")
            yield f"JUMP {end}"
            yield f"LABEL {other}"
            yield from otherwise
            yield f"LABEL {end}"
        else:
            yield f"LABEL {other}"

    def assignment(self, target: str, value: Formula) -> Iterator[str]:
        """Yield the lines that set a bit."""
        if value.kind == "constant":
            yield f"MOVE {target} {value.number}"
        elif value.kind == "bit":
            yield f"MOVE {target} {self._home(value.number)}"
        elif value.kind == "not" and value.parts[0].kind == "bit":
            yield from self.assignment(target, value.parts[0])
            yield f"NOT {target}"
        elif all(part.kind == "bit" and self._home(part.number) != target for part in value.parts[1:]) and (
            value.kind != "not" and value.parts[0].kind == "bit"
        ):
            yield from self.assignment(target, value.parts[0])
            name = {"and": "AND", "or": "IOR", "xor": "XOR"}[value.kind]
            for part in value.parts[1:]:
                yield f"{name} {target} {self._home(part.number)}"
        else:
            yield from self._branch(value, [f"MOVE {target} 1"], [f"MOVE {target} 0"])

    def _unless(self, formula: Formula, label: str) -> Iterator[str]:
        """Jump to a label unless a formula holds."""
        match formula.kind:
            case "constant":
                if not formula.number:
                    yield f"JUMP {label}"
            case "bit":
                yield f"JUMP-UNLESS {label} {self._home(formula.number)}"
            case "not":
                yield from self._when(formula.parts[0], label)
            case "and":
                for part in formula.parts:
                    yield from self._unless(part, label)
            case "or":
                inside = self._label("THEN")
                for part in formula.parts[:-1]:
                    yield from self._when(part, inside)
                yield from self._unless(formula.parts[-1], label)
                yield f"LABEL {inside}"
            case "xor":
                yield from self._parity(formula, label, odd=False)

    def _when(self, formula: Formula, label: str) -> Iterator[str]:
        """Jump to a label if a formula holds."""
        match formula.kind:
            case "constant":
                if formula.number:
                    yield f"JUMP {label}"
            case "bit":
                yield f"JUMP-WHEN {label} {self._home(formula.number)}"
            case "not":
                yield from self._unless(formula.parts[0], label)
            case "or":
                for part in formula.parts:
                    yield from self._when(part, label)
            case "and":
                inside = self._label("THEN")
                for part in formula.parts[:-1]:
                    yield from self._unless(part, inside)
                yield from self._when(formula.parts[-1], label)
                yield f"LABEL {inside}"
            case "xor":
                yield from self._parity(formula, label, odd=True)

    def _parity(self, formula: Formula, label: str, odd: bool) -> Iterator[str]:
        """Jump to a label if an odd number of parts hold, or an even one: two parallel paths track the parity."""
        inside = self._label("THEN")
        others = [self._label("ODD") for _ in formula.parts[1:]]
        last = len(formula.parts) - 1
        yield from self._when(formula.parts[0], others[0])
        evens = []
        for place, part in enumerate(formula.parts[1:], 1):
            # Even so far.
            if place == last:
                yield from self._when(part, label if odd else inside)
                yield f"JUMP {inside if odd else label}"
            else:
                yield from self._when(part, others[place])
                evens.append(self._label("EVEN"))
                yield f"JUMP {evens[-1]}"
            yield f"LABEL {others[place - 1]}"
            # Odd so far.
            if place == last:
                yield from self._when(part, inside if odd else label)
                yield f"JUMP {label if odd else inside}"
            else:
                yield from self._unless(part, others[place])
                yield f"LABEL {evens[-1]}"
        yield f"LABEL {inside}"

    def _label(self, name: str) -> str:
        self._labels += 1
        return f"@{name}-{self._labels}"

    def _home(self, clbit: int) -> str:
        """Return the memory of an IR bit; "" for an unused one."""
        return self.bit(*self._layout.homes[clbit]) if clbit in self._layout.homes else ""

    def bit(self, register: int, place: int) -> str:
        return f"{self._names[register]}[{place}]"


def gate(step: GateStep, places: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a gate of `GATES`, on qubits of these numbers."""
    qubits = " ".join(map(str, places))
    if step.name == "u":
        theta, phi, lam = step.numbers
        yield from (f"RZ({lam!r}) {qubits}", f"RY({theta!r}) {qubits}", f"RZ({phi!r}) {qubits}")
    else:
        numbers = f"({', '.join(map(repr, step.numbers))})" if step.numbers else ""
        yield f"{GATES[step.name]}{numbers} {qubits}"
