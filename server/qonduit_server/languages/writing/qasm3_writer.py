# SPDX-License-Identifier: Apache-2.0
"""Writer of OpenQASM 3, also for Braket's dialect, which has other gates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qonduit_server.ir.builder import Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import Formula
from qonduit_server.ir.noise import Channel
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
    qubits_used,
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
from qonduit_server.languages.writing.write_result import WriteResult

#: A valid identifier, except for reserved words.
NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_RESERVED: Final = frozenset((
    "OPENQASM", "include", "defcalgrammar", "def", "cal", "defcal", "gate", "extern", "box", "let", "break", "continue",
    "if", "else", "end", "return", "for", "while", "in", "switch", "case", "default", "pragma", "input", "output",
    "const", "readonly", "mutable", "qreg", "qubit", "creg", "bool", "bit", "int", "uint", "float", "angle", "complex",
    "array", "void", "duration", "stretch", "gphase", "inv", "pow", "ctrl", "negctrl", "durationof", "delay", "reset",
    "measure", "barrier", "true", "false", "im", "pi", "tau", "euler", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "exp", "log", "sqrt", "floor", "ceiling", "mod", "popcount", "rotl", "rotr", "real", "imag", "sizeof",
    "nop", "U", "CX", "phase", "cphase", "cu",
))  # fmt: skip
#: A condition that Qiskit's importer reads.
_PLAIN_CONDITION: Final = re.compile(r"!?\w+\[\d+\]|\w+ == \d+", re.ASCII)
_UNITS: Final = frozenset(("dt", "ns", "us", "ms", "s"))


@dataclass(frozen=True)
class Dialect:
    """A dialect of OpenQASM 3.

    Attributes:
        title: its name in messages.
        header: the lines a program begins with.
        gates: its names of standard gates.
        delays: whether there are delays outside of calibrations.
        compares: whether a register compared with a number is read alike by everything that reads the dialect.
        touch: the gate that unused qubits are given, where qubits must be used; "" where not.
        noise: writes a channel on operands as a line; None where the dialect has no noise.
        reader: the SDK's own reader, which does not read the constructs of `unread`.
    """

    title: str
    header: tuple[str, ...]
    gates: Mapping[str, str]
    delays: bool = True
    compares: bool = True
    touch: str = ""
    reader: str = ""
    unread: frozenset[str] = frozenset()
    noise: Callable[[Channel, Sequence[str]], str] | None = None


#: Constructs that some readers do not support, for warnings.
ASSIGNMENT: Final = "an assignment to a bit"
COMPUTED_CONDITION: Final = "a condition other than a bit or a register compared with a number"
DISCARDED: Final = "a measurement into no bit"
OUTPUT: Final = "the keyword output"
REGISTERS: Final = "measurements into more than one register"

_SAME: Final = (
    "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "p", "u1", "u2", "u3", "cx", "cy", "cz",
    "ch", "cp", "crx", "cry", "crz", "swap", "ccx", "cswap",
)  # fmt: skip
_DIALECT: Final = Dialect(
    "OpenQASM 3",
    ("OPENQASM 3.0;", 'include "stdgates.inc";'),
    {**{name: name for name in _SAME}, "u": "U"},
    reader="Qiskit's importer of OpenQASM 3",
    unread=frozenset((ASSIGNMENT, COMPUTED_CONDITION, DISCARDED, OUTPUT)),
)


def write(circuit: Circuit) -> WriteResult:
    """Write a program as OpenQASM 3.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, a gate without a definition, or a register without bits.
    """
    return write_steps(circuit, walk(circuit.quantum, _DIALECT.title, _DIALECT.gates), _DIALECT)


def write_steps(circuit: Circuit, steps: Sequence[Plain], dialect: Dialect) -> WriteResult:
    """Write the steps of a program, which has only the dialect's gates."""
    check_sizes(circuit, dialect.title)
    layout = lay_out(circuit, steps)
    if layout.scratch and not circuit.registers:
        raise refuse(dialect.title, "bits that are no register of the result, which this program's loops need", "QUIL")
    reserved = _RESERVED | set(dialect.gates.values())
    names, warnings = identifiers([each.name for each in circuit.registers], NAME, reserved, dialect.title)
    if not dialect.delays:
        warnings += dropped(steps, (DelayStep,), dialect.title)
    scratch = free_name("scratch", names)
    writer = _Writer(dialect, circuit, layout, names, free_name("q", [*names, scratch]), scratch)
    lines = [*dialect.header, *writer.declarations(steps), *writer.block(steps, "")]
    lines += [f"{writer.bit(*place)} = {writer.value(formula)};" for place, formula in layout.computed]
    written = writer.constructs | ({ASSIGNMENT} if layout.computed else set()) | ({OUTPUT} if layout.scratch else set())
    warnings += [f"{dialect.reader} does not read {each}" for each in sorted(written & dialect.unread)]
    return WriteResult("\n".join(lines) + "\n", tuple(warnings))


def number(value: float) -> str:
    """Return a number's exact text."""
    return repr(float(value))


class _Writer:
    def __init__(
        self, dialect: Dialect, circuit: Circuit, layout: Layout, names: list[str], qubits: str, scratch: str
    ) -> None:
        self._dialect = dialect
        self._circuit = circuit
        self._layout = layout
        self._names = names
        self._qubits = qubits
        self._scratch = scratch
        #: Written constructs that some readers do not support.
        self.constructs: set[str] = set()
        self._measured: set[int] = set()
        #: The registers that consist of IR bits only: bits and name.
        self._whole = {
            tuple(each for each in register.bits if isinstance(each, int)): name
            for number, (register, name) in enumerate(zip(circuit.registers, names, strict=True))
            if all(isinstance(each, int) and layout.homes[each] == (number, k) for k, each in enumerate(register.bits))
        }

    def declarations(self, steps: Sequence[Plain]) -> Iterator[str]:
        kind = "output bit" if self._layout.scratch else "bit"
        if self._circuit.quantum.num_qubits:
            yield f"qubit[{self._circuit.quantum.num_qubits}] {self._qubits};"
        for register, name in zip(self._circuit.registers, self._names, strict=True):
            yield f"{kind}[{len(register.bits)}] {name};"
        if self._layout.scratch:
            yield f"bit[{len(self._layout.scratch)}] {self._scratch};"
        if self._dialect.touch:
            for qubit in sorted(set(range(self._circuit.quantum.num_qubits)) - qubits_used(steps)):
                yield f"{self._dialect.touch} {self._qubits}[{qubit}];"

    def block(self, steps: Sequence[Plain], indent: str) -> Iterator[str]:
        for step in steps:
            if isinstance(step, BranchStep):
                yield f"{indent}if ({self._guard(step.condition)}) {{"
                yield from self.block(step.then, indent + "  ")
                if step.otherwise:
                    yield f"{indent}}} else {{"
                    yield from self.block(step.otherwise, indent + "  ")
                yield indent + "}"
            elif isinstance(step, LoopStep):
                yield f"{indent}while ({self._guard(step.condition)}) {{"
                yield from self.block(step.body, indent + "  ")
                yield indent + "}"
            else:
                line = self._line(step)
                if line:
                    yield indent + line

    def _guard(self, formula: Formula) -> str:
        text = self.condition(formula)
        if _PLAIN_CONDITION.fullmatch(text) is None:
            self.constructs.add(COMPUTED_CONDITION)
        return text

    def _line(self, step: Plain) -> str:
        match step:
            case GateStep():
                numbers = f"({', '.join(map(number, step.numbers))})" if step.numbers else ""
                return f"{self._dialect.gates[step.name]}{numbers} {self._operands(step.qubits)};"
            case MeasureStep():
                home = self._home(step.clbit)
                self._measured.add(self._layout.homes[step.clbit][0] if step.clbit in self._layout.homes else -1)
                if len(self._measured) > 1:
                    self.constructs.add(REGISTERS)
                if home:
                    return f"{home} = measure {self._operands((step.qubit,))};"
                self.constructs.add(DISCARDED)
                return f"measure {self._operands((step.qubit,))};"
            case Write():
                home = self._home(step.clbit)
                self.constructs.add(ASSIGNMENT)
                return f"{home} = {self.value(step.value)};" if home else ""
            case ResetStep():
                return f"reset {self._operands((step.qubit,))};"
            case BarrierStep():
                return f"barrier {self._operands(step.qubits)};"
            case ChannelStep():
                assert self._dialect.noise is not None
                return self._dialect.noise(step.channel, [self._operands((qubit,)) for qubit in step.qubits])
            case DelayStep():
                return self._pause(step) if self._dialect.delays else ""
        raise AssertionError(step)

    def _pause(self, step: DelayStep) -> str:
        duration, unit = (step.duration, step.unit) if step.unit in _UNITS else (step.duration / 1000, "ns")
        text = str(int(duration)) if duration == int(duration) else number(duration)
        return f"delay[{text}{unit}] {self._operands((step.qubit,))};"

    def _operands(self, qubits: Sequence[int]) -> str:
        return ", ".join(f"{self._qubits}[{qubit}]" for qubit in qubits)

    def _home(self, clbit: int) -> str:
        """Return the text of an IR bit; "" for an unused one."""
        if clbit in self._layout.homes:
            return self.bit(*self._layout.homes[clbit])
        return f"{self._scratch}[{self._layout.scratch[clbit]}]" if clbit in self._layout.scratch else ""

    def bit(self, register: int, place: int) -> str:
        return f"{self._names[register]}[{place}]"

    def value(self, formula: Formula) -> str:
        """Return a formula as the right side of an assignment to a bit."""
        if formula.kind == "constant":
            return str(formula.number)
        return self._plain(formula) or self.condition(formula)

    def _plain(self, formula: Formula) -> str:
        """Return a bit, or bits joined by ^; "" for anything else."""
        if formula.kind == "bit":
            return self._home(formula.number)
        if formula.kind == "xor" and all(part.kind == "bit" for part in formula.parts):
            return " ^ ".join(self._home(part.number) for part in formula.parts)
        return ""

    def condition(self, formula: Formula) -> str:
        """Return a formula as a condition."""
        inner, wanted = (formula.parts[0], 0) if formula.kind == "not" else (formula, 1)
        if inner.kind == "constant":
            return "true" if inner.number == wanted else "false"
        plain = self._plain(inner)
        if plain and inner.kind == "bit":  # without a comparison: Qiskit's importer accepts none of a bit with a number
            return plain if wanted else f"!{plain}"
        if plain:
            return f"({plain}) == {wanted}"
        if not wanted:
            return f"!({self.condition(inner)})"
        if inner.kind == "and":
            return self._equality(inner) or _joined(inner.parts, "&&", self.condition)
        if inner.kind == "or":
            return _joined(inner.parts, "||", self.condition)
        return _joined(inner.parts, "!=", lambda part: f"({self.condition(part)})")

    def _equality(self, formula: Formula) -> str:
        """Return a comparison such as `c == 5`, if the formula is one."""
        literals = {
            (part.parts[0] if part.kind == "not" else part).number: part.kind == "bit"
            for part in formula.parts
            if part.kind == "bit" or (part.kind == "not" and part.parts[0].kind == "bit")
        }
        if len(literals) < len(formula.parts):
            return ""
        for bits, name in self._whole.items() if self._dialect.compares else ():
            if set(bits) == literals.keys():
                return f"{name} == {sum(literals[each] << place for place, each in enumerate(bits))}"
        return ""


def _joined(parts: Sequence[Formula], sign: str, write: Callable[[Formula], str]) -> str:
    """Return parts joined by an operator, as a balanced tree where there are many: readers recurse."""
    texts = [f"({write(part)})" if part.kind in ("and", "or", "xor") else write(part) for part in parts]
    while len(texts) > 1:
        last = len(texts) <= 2
        texts = [
            (f"{texts[k]} {sign} {texts[k + 1]}" if last else f"({texts[k]} {sign} {texts[k + 1]})")
            if k + 1 < len(texts)
            else texts[k]
            for k in range(0, len(texts), 2)
        ]
    return texts[0]
