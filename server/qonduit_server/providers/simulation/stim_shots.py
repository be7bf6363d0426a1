# SPDX-License-Identifier: Apache-2.0
"""Circuits that Stim runs shot by shot: what they do next depends on measured bits in any way."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import stim
from qiskit.circuit import IfElseOp, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr

from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import Formula, bit
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.providers.provider import RunProgress
from qonduit_server.providers.simulation.steps import Assign, Jump, JumpIfNot
from qonduit_server.providers.simulation.stim_text import StimText

#: Maximum number of loop iterations in one shot.
MAX_ROUNDS = 10_000
#: A run reports its progress about this many times.
_REPORTS = 100


@dataclass(frozen=True)
class _Operations:
    """Gates, channels and resets."""

    circuit: stim.Circuit


@dataclass(frozen=True)
class _Measurements:
    """Measurements of different qubits, with the classical bits that store them."""

    qubits: list[int]
    clbits: list[int]


@dataclass(frozen=True)
class _ReadoutError:
    clbit: int
    prob_1_given_0: float
    prob_0_given_1: float


@dataclass(frozen=True)
class ShotProgram:
    """A circuit as steps with jumps."""

    device: str
    steps: Sequence[object]

    def run(self, shots: int, seed: int | None, counts: dict[int, int]) -> Iterator[RunProgress]:
        """Run shots, and add their outcomes to `counts`.

        Raises:
            LimitError: reason LOOP_LIMIT.
        """
        generator = random.Random(seed)
        report = max(1, shots // _REPORTS)
        for shot in range(1, shots + 1):
            outcome = self._shot(generator)
            counts[outcome] = counts.get(outcome, 0) + 1
            if shot % report == 0 and shot < shots:
                yield RunProgress(shot / shots)

    def _shot(self, generator: random.Random) -> int:
        # A simulator of its own: resetting a used one costs a measurement of each qubit.
        simulator = stim.TableauSimulator(seed=generator.getrandbits(63))
        bits = place = rounds = 0
        steps = self.steps
        while place < len(steps):
            step = steps[place]
            place += 1
            match step:
                case _Operations():
                    simulator.do(step.circuit)
                case _Measurements():
                    for clbit, value in zip(step.clbits, simulator.measure_many(*step.qubits), strict=True):
                        bits = bits & ~(1 << clbit) | value << clbit
                case _ReadoutError():
                    one = bits >> step.clbit & 1
                    if generator.random() < (step.prob_0_given_1 if one else step.prob_1_given_0):
                        bits ^= 1 << step.clbit
                case Assign():
                    bits = bits & ~(1 << step.clbit) | step.value.value(bits) << step.clbit
                case JumpIfNot():
                    place = place if step.condition.value(bits) else step.target
                case Jump():
                    place = step.target
                    rounds += 1
                    if rounds > MAX_ROUNDS:
                        raise LimitError(
                            "LOOP_LIMIT",
                            f"a shot took more than {MAX_ROUNDS} rounds of a loop on {self.device}: "
                            "change the condition so that the loop ends",
                        )
        return bits


def shot_program(circuit: Circuit, device: str) -> ShotProgram:
    """Convert a circuit.

    Raises:
        DeviceError: an operation that the device does not have, by name.
    """
    quantum = circuit.quantum
    compiler = _Compiler(StimText(device, circuit.lines), device)
    compiler.block(quantum, range(quantum.num_qubits), range(quantum.num_clbits))
    compiler.flush()
    return ShotProgram(device, compiler.steps)


class _Compiler:
    def __init__(self, text: StimText, device: str) -> None:
        self._text = text
        self._device = device
        self.steps: list[object] = []
        self._open = False

    def flush(self) -> None:
        """End the operations in progress: something follows, or a jump targets what follows."""
        text = self._text.take()
        if text:
            self.steps.append(_Operations(stim.Circuit(text)))
            self._open = False

    def block(self, block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int]) -> None:
        qubit_at = {qubit: qubits[place] for place, qubit in enumerate(block.qubits)}
        bit_at = {clbit: clbits[place] for place, clbit in enumerate(block.clbits)}

        for instruction in block.data:
            operation = instruction.operation
            name = operation.name
            if name in ("barrier", "delay"):
                continue
            places = [qubit_at[qubit] for qubit in instruction.qubits]
            own = [bit_at[clbit] for clbit in instruction.clbits]
            if name == "measure":
                self._measure(places[0], own[0])
            elif name == "reset":
                self._text.add("R", str(places[0]))
            elif isinstance(operation, ReadoutError):
                self._step(_ReadoutError(own[0], operation.prob_1_given_0, operation.prob_0_given_1))
            elif isinstance(operation, Channel):
                self._text.channel(operation, places)
            elif isinstance(operation, IfElseOp | WhileLoopOp) and len(operation.blocks) == 1:
                condition = condition_formula(operation.condition, lambda clbit: bit(bit_at[clbit]))
                loop = isinstance(operation, WhileLoopOp)
                self._guarded(condition, operation.blocks[0], places, own, loop=loop)
            elif name == "store" and isinstance(operation, Store) and isinstance(operation.lvalue, expr.Var):
                (value,) = bits_of_expression(operation.rvalue, lambda clbit: bit(bit_at[clbit]))
                self._step(Assign(bit_at[operation.lvalue.var], value))
            elif own or hasattr(operation, "blocks"):
                raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{self._device} cannot run the operation {name!r}")
            else:
                self._text.gate(operation, places)

    def _guarded(
        self, condition: Formula, block: QuantumCircuit, places: Sequence[int], own: Sequence[int], *, loop: bool
    ) -> None:
        self.flush()
        begin = len(self.steps)
        unless = JumpIfNot(condition)
        self._step(unless)
        self.block(block, places, own)
        if loop:
            self._step(Jump(begin))
        self.flush()
        unless.target = len(self.steps)
        self._open = False

    def _step(self, step: object) -> None:
        self.flush()
        self.steps.append(step)
        self._open = False

    def _measure(self, qubit: int, clbit: int) -> None:
        self.flush()
        last = self.steps[-1] if self._open else None
        if not isinstance(last, _Measurements):
            last = _Measurements([], [])
            self._step(last)
            self._open = True
        last.qubits.append(qubit)
        last.clbits.append(clbit)
