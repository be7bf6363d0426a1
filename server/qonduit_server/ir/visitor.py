# SPDX-License-Identifier: Apache-2.0
"""The IR circuit as plain steps, for the language writers; the inverse of the builder."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
from qiskit.circuit import Clbit, Delay, Gate, IfElseOp, Instruction, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit import library as qk
from qiskit.circuit.classical import expr
from qiskit.circuit.library import standard_gates

from qonduit_server.errors import DeviceError, ProgramError
from qonduit_server.ir.builder import Write
from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, negation
from qonduit_server.ir.limits import MAX_DEPTH, MAX_OPERATIONS, too_large
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise import Channel, ReadoutError

#: Maximum number of qubits of a matrix that is written as such.
MATRIX_QUBITS: Final = 3


@dataclass(frozen=True)
class GateStep:
    """A gate. `name` is the name of Qiskit's standard gate; "" for any other gate."""

    name: str
    operation: Instruction
    qubits: tuple[int, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """Its angles."""
        return tuple(float(each) for each in self.operation.params)

    @property
    def matrix(self) -> np.ndarray[Any, Any]:
        """Its unitary matrix; qubit k is bit k of rows and columns."""
        matrix: np.ndarray[Any, Any] = self.operation.to_matrix()
        return matrix


@dataclass(frozen=True)
class MeasureStep:
    """A measurement."""

    qubit: int
    clbit: int


@dataclass(frozen=True)
class ResetStep:
    """A reset."""

    qubit: int


@dataclass(frozen=True)
class BarrierStep:
    """A barrier."""

    qubits: tuple[int, ...]


@dataclass(frozen=True)
class DelayStep:
    """A delay."""

    qubit: int
    duration: float
    unit: str


@dataclass(frozen=True)
class ChannelStep:
    """A quantum channel."""

    channel: Channel
    qubits: tuple[int, ...]


@dataclass(frozen=True)
class ReadoutErrorStep:
    """A readout error of a bit."""

    clbit: int
    error: ReadoutError


@dataclass(frozen=True)
class BranchStep:
    """A branch into one of two bodies: the condition is evaluated once, before either."""

    condition: Formula
    then: tuple[Plain, ...]
    otherwise: tuple[Plain, ...] = ()


@dataclass(frozen=True)
class LoopStep:
    """A loop that repeats a body while a formula holds."""

    condition: Formula
    body: tuple[Plain, ...]


Plain: TypeAlias = (
    GateStep
    | MeasureStep
    | ResetStep
    | BarrierStep
    | DelayStep
    | ChannelStep
    | ReadoutErrorStep
    | Write
    | BranchStep
    | LoopStep
)


def walk(
    quantum: QuantumCircuit,
    language: str,
    natives: Container[str] | None,
    *,
    noise: bool = False,
    readout_errors: bool = False,
) -> tuple[Plain, ...]:
    """Return the steps of an IR circuit.

    Args:
        quantum: the IR circuit.
        language: for messages: "OpenQASM 2".
        natives: the standard gates, by `standard_name`, that are kept; others are replaced by what they are made of.
            None keeps all gates.
        noise: whether the language has channels.
        readout_errors: whether the language has readout errors.

    Raises:
        ProgramError: a gate has no definition; there is noise that the language lacks; or there are too many steps, or
            nested too deep.
    """
    return _Walk(language, natives, noise, readout_errors).block(
        quantum, tuple(range(quantum.num_qubits)), tuple(range(quantum.num_clbits)), depth=0
    )


def standard_name(operation: Instruction) -> str:
    """Return Qiskit's name of a standard gate, also "c3x" and "c4x", or "unitary" for a small matrix; else "".

    Names alone are not enough: a program may define its own gate under the name of a standard one.
    """
    name = _standard_classes().get(operation.base_class, "")
    if name == "unitary" and operation.num_qubits > MATRIX_QUBITS:
        return ""
    # With a control that must be 0, the same class has another name.
    return name if name and operation.name == ("mcx" if name in ("c3x", "c4x") else name) else ""


@cache
def _standard_classes() -> dict[type, str]:
    special = {qk.C3XGate: "c3x", qk.C4XGate: "c4x", qk.UnitaryGate: "unitary", qk.MCXGate: "", qk.MCPhaseGate: ""}
    names: dict[type, str] = {}
    for each in vars(standard_gates).values():
        if isinstance(each, type) and issubclass(each, Gate):
            standard = getattr(each, "_standard_gate", None)
            if standard is not None:
                names[each] = standard.name
    return names | special


class _Walk:
    def __init__(self, language: str, natives: Container[str] | None, noise: bool, readout_errors: bool) -> None:
        self._language = language
        self._noise = noise
        self._readout_errors = readout_errors

        def is_native(operation: Instruction) -> bool:
            return natives is None or standard_name(operation) in natives

        self._keep_all = natives is None
        self._lowering = Lowering(language, is_native)
        self._count = 0

    def block(
        self, block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], depth: int
    ) -> tuple[Plain, ...]:
        if depth > MAX_DEPTH:
            raise too_large(f"conditions and loops are nested more than {MAX_DEPTH} deep")
        find = block.find_bit
        where = dict(zip(block.clbits, clbits, strict=True))

        def read(clbit: Clbit) -> Formula:
            return bit(where[clbit])

        steps: list[Plain] = []
        for instruction in block.data:
            operation = instruction.operation
            places = tuple(qubits[find(qubit).index] for qubit in instruction.qubits)
            bits = tuple(where[clbit] for clbit in instruction.clbits)
            steps.extend(self._steps(operation, places, bits, where, read, depth))
        return tuple(steps)

    def _steps(
        self,
        operation: Instruction,
        qubits: tuple[int, ...],
        clbits: tuple[int, ...],
        where: dict[Clbit, int],
        read: Callable[[Clbit], Formula],
        depth: int,
    ) -> Iterator[Plain]:
        self._count += 1
        if self._count > MAX_OPERATIONS:
            raise too_large(f"written down, the program has more than {MAX_OPERATIONS} operations")
        name = operation.name
        if name == "measure":
            yield MeasureStep(qubits[0], clbits[0])
        elif name == "reset":
            yield ResetStep(qubits[0])
        elif name == "barrier":
            yield BarrierStep(qubits)
        elif isinstance(operation, Channel | ReadoutError):
            yield self._noisy(operation, qubits, clbits)
        elif isinstance(operation, Delay):
            yield DelayStep(qubits[0], float(operation.duration), str(operation.unit))
        elif isinstance(operation, IfElseOp):
            condition = _formula(operation.condition, read)
            then, *rest = (self.block(body, qubits, clbits, depth + 1) for body in operation.blocks)
            yield from _branched(condition, then, rest[0] if rest else ())
        elif isinstance(operation, WhileLoopOp):
            yield LoopStep(
                _formula(operation.condition, read), self.block(operation.blocks[0], qubits, clbits, depth + 1)
            )
        elif isinstance(operation, Store) and isinstance(operation.lvalue, expr.Var) and operation.lvalue.var in where:
            (value,) = _bits(operation.rvalue, read)
            yield Write(where[operation.lvalue.var], value)
        elif clbits or hasattr(operation, "blocks"):
            raise ProgramError("UNSUPPORTED_CONSTRUCT", f"the operation {name!r} cannot be written in any language")
        else:
            yield from self._gates(operation, qubits)

    def _noisy(
        self, operation: Channel | ReadoutError, qubits: tuple[int, ...], clbits: tuple[int, ...]
    ) -> ChannelStep | ReadoutErrorStep:
        if isinstance(operation, Channel) and self._noise:
            return ChannelStep(operation, qubits)
        if isinstance(operation, ReadoutError) and self._readout_errors:
            return ReadoutErrorStep(clbits[0], operation)
        what = "noise" if isinstance(operation, Channel) else "readout errors"
        raise ProgramError("UNSUPPORTED_CONSTRUCT", f"{what} cannot be written as {self._language}: remove the noise")

    def _gates(self, operation: Instruction, qubits: tuple[int, ...]) -> Iterator[Plain]:
        if self._keep_all:
            yield GateStep(standard_name(operation), operation, qubits)
            return
        try:
            expanded = self._lowering.expand(operation)
        except DeviceError as error:
            raise ProgramError(error.reason, error.message) from error
        self._count += max(0, len(expanded) - 1)
        for step, own in expanded:
            places = tuple(qubits[place] for place in own)
            if step.name == "reset":
                yield ResetStep(places[0])
            else:
                yield GateStep(standard_name(step), step, places)


def _formula(condition: Any, read: Callable[[Clbit], Formula]) -> Formula:
    try:
        return condition_formula(condition, read)
    except DeviceError as error:
        raise ProgramError(error.reason, "only conditions of Boolean logic on bits can be written") from error


def _bits(value: Any, read: Callable[[Clbit], Formula]) -> list[Formula]:
    try:
        return bits_of_expression(value, read)
    except DeviceError as error:
        raise ProgramError(error.reason, "only assignments of Boolean logic on bits can be written") from error


def _branched(condition: Formula, then: tuple[Plain, ...], otherwise: tuple[Plain, ...]) -> Iterator[Plain]:
    if condition == TRUE:
        yield from then
    elif condition == FALSE:
        yield from otherwise
    elif then:
        yield BranchStep(condition, then, otherwise)
    elif otherwise:
        yield BranchStep(negation(condition), otherwise)


def every(steps: Sequence[Plain]) -> Iterator[Plain]:
    """Yield the steps and their nested steps in pre-order."""
    for step in steps:
        yield step
        if isinstance(step, BranchStep):
            yield from every(step.then)
            yield from every(step.otherwise)
        elif isinstance(step, LoopStep):
            yield from every(step.body)


def bits_read(steps: Sequence[Plain]) -> frozenset[int]:
    """Return the classical bits that conditions and assignments depend on."""
    found: set[int] = set()
    for step in every(steps):
        if isinstance(step, BranchStep | LoopStep):
            found |= step.condition.bits
        elif isinstance(step, Write):
            found |= step.value.bits
    return frozenset(found)


def bits_written(steps: Sequence[Plain]) -> frozenset[int]:
    """Return the classical bits that measurements and assignments write."""
    return frozenset(step.clbit for step in every(steps) if isinstance(step, MeasureStep | Write))


def qubits_used(steps: Sequence[Plain]) -> frozenset[int]:
    """Return the qubits that steps act on."""
    found: set[int] = set()
    for step in every(steps):
        if isinstance(step, GateStep | BarrierStep | ChannelStep):
            found.update(step.qubits)
        elif isinstance(step, MeasureStep | ResetStep | DelayStep):
            found.add(step.qubit)
    return frozenset(found)
