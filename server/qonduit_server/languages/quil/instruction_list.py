# SPDX-License-Identifier: Apache-2.0
"""Flattens a Quil program to a list of operations, with expanded circuits and resolved names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from quil.instructions import (
    CircuitDefinition,
    Gate,
    GateModifier,
    Instruction,
    MemoryReference,
    Pragma,
    Qubit,
    ScalarType,
    Target,
)

from qonduit_server.errors import ProgramError
from qonduit_server.ir.limits import MAX_DEPTH, MAX_OPERATIONS, too_large
from qonduit_server.languages.quil.classical_memory import ClassicalInstruction, Memory, Names
from qonduit_server.languages.quil.gate_definitions import check_distinct
from qonduit_server.languages.quil.noise_pragmas import ADD_KRAUS, READOUT_POVM, NoisePragmas
from qonduit_server.languages.quil.parameter_expressions import Element, Tree, elements, tree
from qonduit_server.languages.signatures import NO_NAMES

#: Maximum number of uses of circuits.
_MAX_USES: Final = 10_000
#: Pragmas of noise that no document defines.
_UNKNOWN_NOISE: Final = frozenset(("ADD-NOISE", "NOISE"))
#: The gate that follows is applied without the program's noise.
_NO_NOISE: Final = "NO-NOISE"


@dataclass(frozen=True)
class GateCall:
    """A gate on qubits."""

    name: str
    modifiers: tuple[GateModifier, ...]
    parameters: tuple[Tree, ...]
    qubits: tuple[int, ...]
    #: The memory elements that its parameters read.
    reads: tuple[int, ...]
    #: The gates of a circuit that is kept whole.
    body: tuple[GateCall, ...] | None = None
    #: Whether Kraus operators of the program may replace it.
    noisy: bool = True


@dataclass(frozen=True)
class Measured:
    """A measurement; without a memory element its outcome is discarded."""

    qubit: int
    cell: int | None


@dataclass(frozen=True)
class Reset:
    """A reset of one qubit, or of all."""

    qubit: int | None


@dataclass(frozen=True)
class Fence:
    """A barrier; without qubits: of all qubits."""

    qubits: tuple[int, ...]


@dataclass(frozen=True)
class Classical:
    """A classical instruction, and the bindings of its names."""

    instruction: ClassicalInstruction
    names: Names


@dataclass(frozen=True)
class Label:
    """A target of jumps."""

    name: str


@dataclass(frozen=True)
class Jump:
    """A jump to a label or the end of the program: always, or if a memory element equals `when`."""

    target: str | None
    cell: int | None = None
    when: bool = True


Operation: TypeAlias = GateCall | Measured | Reset | Fence | Classical | Label | Jump


@dataclass(frozen=True)
class _Scope:
    """The bindings of names in the program or in one use of a circuit."""

    names: dict[str, int | MemoryReference]
    variables: dict[str, Tree]
    labels: dict[str, str]
    circuits: tuple[str, ...] = ()


class Operations:
    """Collects the operations of a program.

    Args:
        memory: its memory.
        circuits: its circuits by name.
        aliases: words that stand for elements of memory, in uses of circuits.
        gate_names: circuits that are kept whole if they consist of gates.
    """

    def __init__(
        self,
        memory: Memory,
        circuits: Mapping[str, CircuitDefinition],
        aliases: Mapping[str, tuple[str, int]],
        gate_names: frozenset[str] = NO_NAMES,
    ) -> None:
        self._gate_names = gate_names
        self.done: list[Operation] = []
        #: For each operation, its line in the program.
        self.lines: list[int] = []
        self.warnings: dict[str, None] = {}
        self.noise = NoisePragmas()
        self._noiseless = False
        self._memory = memory
        self._circuits = circuits
        self._aliases = aliases
        self._bodies = {
            each.name: (each.parameters, each.qubit_variables, each.instructions) for each in circuits.values()
        }
        self._uses = 0
        self._line = 0

    def read(self, body: Sequence[Instruction], lines: Sequence[int]) -> None:
        """Read the instructions of a program, which are on these lines."""
        scope = _Scope({}, {}, _labels(body, ""))
        known = len(lines) == len(body)
        for place, instruction in enumerate(body):
            self._line = lines[place] if known else 0
            with_line(self._line, self._instruction, instruction, scope)
        self.noise.finish()

    def unused_noise(self) -> Iterator[str]:
        """Yield warnings about noise of gates and qubits that the program does not use."""
        gates = {(each.name, each.qubits) for each in self.done if isinstance(each, GateCall)}
        measured = {each.qubit for each in self.done if isinstance(each, Measured)}
        yield from self.noise.unused(gates, measured)

    def _add(self, operation: Operation) -> None:
        if len(self.done) >= MAX_OPERATIONS:
            raise too_large(f"the program has more than {MAX_OPERATIONS} operations")
        self.done.append(operation)
        self.lines.append(self._line)

    def _instruction(self, instruction: Instruction, scope: _Scope) -> None:  # noqa: C901 - one case an instruction
        noiseless, self._noiseless = self._noiseless, False
        match instruction:
            case Instruction.Gate(gate):
                self._gate(gate, scope, not noiseless)
            case Instruction.Measurement(measurement):
                target = measurement.target
                cell = None if target is None else self._memory.element(target, scope.names)
                if cell is not None and self._memory.kinds[cell] == ScalarType.REAL:
                    raise ProgramError("SYNTAX_ERROR", "a qubit is measured into BIT or INTEGER, not REAL")
                self._add(Measured(_qubit(measurement.qubit, scope), cell))
            case Instruction.Reset(reset):
                self._add(Reset(None if reset.qubit is None else _qubit(reset.qubit, scope)))
            case Instruction.Label(label):
                self._add(Label(scope.labels[_name(label.target)]))
            case Instruction.Jump(jump):
                self._add(Jump(_target(jump.target, scope)))
            case Instruction.JumpWhen(jump):
                self._add(Jump(_target(jump.target, scope), self._memory.element(jump.condition, scope.names)))
            case Instruction.JumpUnless(jump):
                self._add(Jump(_target(jump.target, scope), self._memory.element(jump.condition, scope.names), False))
            case Instruction.Halt():
                self._add(Jump(None))
            case Instruction.Nop():
                pass
            case Instruction.Wait():
                self._warn("WAIT is ignored: no other process changes memory")
            case Instruction.Fence(fence):
                self._add(Fence(tuple(dict.fromkeys(_qubit(each, scope) for each in fence.qubits))))
            case Instruction.Delay():
                self._warn("delays are not simulated")
            case Instruction.Pragma(pragma):
                self._pragma(pragma, scope)
            case _:
                inner = getattr(instruction, "_0", None)
                if not isinstance(inner, ClassicalInstruction):
                    raise _unsupported(instruction)
                self._add(Classical(inner, scope.names))

    def _gate(self, gate: Gate, scope: _Scope, noisy: bool) -> None:
        circuit = self._circuits.get(gate.name)
        parameters = tuple(
            tree(each, scope.variables, lambda reference: Element(self._memory.element(reference, scope.names)))
            for each in gate.parameters
        )
        if circuit is not None:
            if not noisy:
                message = f"PRAGMA {_NO_NOISE} stands before the circuit {gate.name}: put it before gates of its body"
                raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
            self._circuit(circuit, gate, parameters, scope)
            return
        qubits = tuple(_qubit(each, scope) for each in gate.qubits)
        if not qubits:
            raise ProgramError("SYNTAX_ERROR", f"{gate.name} is given no qubit")
        check_distinct(gate.name, qubits)
        reads = tuple(sorted(set().union(*(elements(each) for each in parameters)))) if parameters else ()
        self._add(GateCall(gate.name, tuple(gate.modifiers), parameters, qubits, reads, noisy=noisy))

    def _circuit(self, circuit: CircuitDefinition, use: Gate, parameters: tuple[Tree, ...], scope: _Scope) -> None:
        name = circuit.name
        formal, arguments, body = self._bodies[name]
        if use.modifiers:
            message = f"{name} is a circuit, and takes no modifiers: define it with DEFGATE {name} ... AS SEQUENCE"
            raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
        if name in scope.circuits:
            raise ProgramError("SYNTAX_ERROR", f"the circuit {name!r} is defined by itself")
        if len(scope.circuits) >= MAX_DEPTH:
            raise too_large(f"circuits are nested more than {MAX_DEPTH} deep")
        if len(formal) != len(parameters) or len(arguments) != len(use.qubits):
            raise ProgramError(
                "SYNTAX_ERROR",
                f"{name} takes {len(formal)} parameters and {len(arguments)} arguments, "
                f"and is given {len(parameters)} and {len(use.qubits)}",
            )
        check_distinct(f"DEFCIRCUIT {name}", arguments)
        self._uses += 1
        if self._uses > _MAX_USES:
            raise too_large(f"circuits are used more than {_MAX_USES} times")
        given = [self._argument(each, scope) for each in use.qubits]
        labels = _labels(body, f" {self._uses}")
        inner = _Scope(
            dict(zip(arguments, given, strict=True)),
            dict(zip(formal, parameters, strict=True)),
            {**scope.labels, **labels},
            (*scope.circuits, name),
        )
        start = len(self.done)
        for instruction in body:
            self._instruction(instruction, inner)
        if name in self._gate_names:
            self._keep_whole(name, [each for each in given if isinstance(each, int)], start)

    def _keep_whole(self, name: str, qubits: Sequence[int], start: int) -> None:
        """Replace the operations of a circuit by one, if they are gates."""
        body = tuple(each for each in self.done[start:] if isinstance(each, GateCall))
        # A circuit may also act on qubits that it is not given.
        foreign = any(not set(each.qubits) <= set(qubits) for each in body)
        if not body or foreign or len(body) < len(self.done) - start or len(set(qubits)) < len(qubits):
            return
        del self.done[start:], self.lines[start:]
        reads = tuple(sorted({cell for each in body for cell in each.reads}))
        self._add(GateCall(name, (), (), tuple(qubits), reads, body))

    def _argument(self, argument: Qubit, scope: _Scope) -> int | MemoryReference:
        """Return an argument of a circuit: a qubit or an element of memory."""
        if isinstance(argument, Qubit.Variable) and argument._0 not in scope.names:
            reference = MemoryReference(*self._aliases.get(argument._0, (argument._0, 0)))
            outer = scope.names.get(reference.name)
            if isinstance(outer, MemoryReference) and outer.index == 0:
                reference = MemoryReference(outer.name, reference.index)
            self._memory.element(reference)
            return reference
        return scope.names[argument._0] if isinstance(argument, Qubit.Variable) else _qubit(argument, scope)

    def _pragma(self, pragma: Pragma, scope: _Scope) -> None:
        if pragma.name in (ADD_KRAUS, READOUT_POVM):
            if scope.circuits:
                message = (
                    f"PRAGMA {pragma.name} stands in a DEFCIRCUIT: it applies to the whole program, put it outside"
                )
                raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
            self.noise.add(pragma, self._line)
        elif pragma.name == _NO_NOISE:
            self._noiseless = True
        elif pragma.name in _UNKNOWN_NOISE:
            message = f"PRAGMA {pragma.name} is unknown: write noise as PRAGMA {ADD_KRAUS} and PRAGMA {READOUT_POVM}"
            raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
        elif pragma.name == "DELAY":
            self._warn("delays are not simulated")

    def _warn(self, message: str) -> None:
        self.warnings[message] = None


def with_line(line: int, action: object, *arguments: object) -> None:
    """Run an action; its errors and warnings refer to this line."""
    assert callable(action)
    try:
        action(*arguments)
    except ProgramError as error:
        if error.line or not line:
            raise
        raise ProgramError(error.reason, f"line {line}: {error.message}", line=line, column=1) from error


def _qubit(qubit: Qubit, scope: _Scope) -> int:
    if isinstance(qubit, Qubit.Fixed):
        return qubit._0
    name = qubit._0 if isinstance(qubit, Qubit.Variable) else "?"
    found = scope.names.get(name)
    if not isinstance(found, int):
        raise ProgramError("SYNTAX_ERROR", f"{name!r} is not a qubit: qubits are numbers")
    return found


def _name(target: Target) -> str:
    assert isinstance(target, Target.Fixed)
    return target._0


def _target(target: Target, scope: _Scope) -> str:
    name = _name(target)
    if name not in scope.labels:
        raise ProgramError("SYNTAX_ERROR", f"there is no LABEL @{name} to jump to")
    return scope.labels[name]


def _labels(body: Sequence[Instruction], suffix: str) -> dict[str, str]:
    """Return the labels of the program or of one use of a circuit, with their unique names."""
    found: dict[str, str] = {}
    for instruction in body:
        if isinstance(instruction, Instruction.Label):
            name = _name(instruction._0.target)
            if name in found:
                raise ProgramError("SYNTAX_ERROR", f"LABEL @{name} occurs twice in the program")
            found[name] = name + suffix
    return found


def _unsupported(instruction: Instruction) -> ProgramError:
    shown = instruction.to_quil_or_debug().split("\n")[0]
    word = shown.split(" ")[0][:40]
    if isinstance(instruction, Instruction.Include):
        why = "files are not included: put their text into the program"
    elif isinstance(instruction, Instruction.Call):
        why = "external functions are not supported"
    elif instruction.is_quil_t():
        why = "pulses are not simulated: write gates"
    else:
        why = "this is not allowed here"
    return ProgramError("UNSUPPORTED_CONSTRUCT", f"{word}: {why}")
