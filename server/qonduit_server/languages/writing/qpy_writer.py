# SPDX-License-Identifier: Apache-2.0
"""Writer of Qiskit's circuits (QPY); all gates are preserved."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from qiskit import qpy
from qiskit.circuit import (
    Barrier,
    CircuitInstruction,
    ClassicalRegister,
    Clbit,
    Delay,
    IfElseOp,
    Instruction,
    Measure,
    QuantumCircuit,
    QuantumRegister,
    Qubit,
    Reset,
    Store,
    WhileLoopOp,
)
from qiskit.circuit.classical import expr

from qonduit_server.ir.builder import Write, expression
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
    bits_read,
    bits_written,
    every,
    qubits_used,
    walk,
)
from qonduit_server.languages.writing.register_layout import free_name, lay_out, refuse
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

#: The oldest lossless QPY version that Qiskit 2 writes, for readability by older versions.
_VERSION: Final = 13
_TITLE: Final = "QPY"


class _Everything:
    """All gates are native."""

    def __contains__(self, name: object) -> bool:
        return True


class _Named:
    """Standard gates and small matrices are native: QPY writes them by name, and numbers others at random."""

    def __contains__(self, name: object) -> bool:
        return name not in ("", "global_phase")


def write(circuit: Circuit) -> WriteResult:
    """Write a program as QPY.

    Computed bits are set at the end. A result contains all bits of a circuit, so programs that need bits outside their
    registers are measured at the end instead.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, such a program has a loop that ends by a measurement.
    """
    steps = walk(circuit.quantum, _TITLE, None, noise=True)
    layout = lay_out(circuit, steps, keep_unread=True)
    warnings: tuple[str, ...] = ()
    if layout.scratch:
        if any(isinstance(step, LoopStep) for step in every(steps)):
            raise refuse(_TITLE, "bits that are no part of the result, which this program's loops need", "QASM3")
        circuit = at_the_end(circuit, _TITLE, _Everything(), noise=True)
        warnings = circuit.warnings[-1:]
        steps = walk(circuit.quantum, _TITLE, None, noise=True)
        layout = lay_out(circuit, steps, keep_unread=True)
    names = [each.name for each in circuit.registers]
    whole = QuantumCircuit(name="program")
    whole.add_register(QuantumRegister(circuit.quantum.num_qubits, free_name("q", names)))
    homes: list[list[Clbit]] = []
    for register in circuit.registers:
        if names == [""]:
            # The reader's name for bits in no register.
            whole.add_bits([Clbit() for _ in register.bits])
            homes.append(whole.clbits)
        else:
            whole.add_register(ClassicalRegister(len(register.bits), register.name))
            homes.append(list(whole.cregs[-1]))
    clbits = {clbit: homes[number][place] for clbit, (number, place) in layout.homes.items()}
    filling = _Filling(whole.qubits, [clbits.get(k, Clbit()) for k in range(circuit.quantum.num_clbits)])
    filling.fill(whole, steps)
    for (number, place), formula in layout.computed:
        filling.store(whole, homes[number][place], formula)
    out = io.BytesIO()
    qpy.dump(whole, out, version=_VERSION)
    return WriteResult(out.getvalue(), warnings)


def write_bits(quantum: QuantumCircuit, device: str) -> bytes:
    """Write an IR circuit for a device that compiles it: in standard gates, with all of its bits in the register `c`.

    The same circuit gives the same bytes.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, the circuit has noise, or a gate without a definition.
    """
    whole = QuantumCircuit(name="program")
    whole.add_register(QuantumRegister(quantum.num_qubits, "q"), ClassicalRegister(quantum.num_clbits, "c"))
    _Filling(whole.qubits, whole.clbits).fill(whole, walk(quantum, device, _Named()))
    out = io.BytesIO()
    qpy.dump(whole, out, version=_VERSION)
    return out.getvalue()


class _Filling:
    """Appends steps to circuits; `qubits` and `clbits` are indexed by IR numbers."""

    def __init__(self, qubits: Sequence[Qubit], clbits: Sequence[Clbit]) -> None:
        self._qubits = qubits
        self._clbits = clbits

    def fill(self, circuit: QuantumCircuit, steps: Sequence[Plain]) -> None:
        qubits, clbits = self._qubits, self._clbits
        for step in steps:
            match step:
                case GateStep():
                    _put(circuit, step.operation, [qubits[k] for k in step.qubits])
                case ChannelStep():
                    # Qiskit's own form of a channel, as quantum_info.Kraus(...).to_instruction() makes it.
                    operation = Instruction("kraus", step.channel.num_qubits, 0, list(step.channel.kraus))
                    _put(circuit, operation, [qubits[k] for k in step.qubits])
                case MeasureStep():
                    _put(circuit, Measure(), [qubits[step.qubit]], [clbits[step.clbit]])
                case ResetStep():
                    _put(circuit, Reset(), [qubits[step.qubit]])
                case BarrierStep():
                    _put(circuit, Barrier(len(step.qubits)), [qubits[k] for k in step.qubits])
                case DelayStep():
                    _put(circuit, Delay(step.duration, step.unit), [qubits[step.qubit]])
                case Write():
                    self.store(circuit, clbits[step.clbit], step.value)
                case BranchStep():
                    bodies = [self._body((step,), body) for body in (step.then, step.otherwise) if body]
                    operation = IfElseOp(expression(step.condition, clbits), *bodies)
                    _put(circuit, operation, bodies[0].qubits, bodies[0].clbits)
                case LoopStep():
                    body = self._body((step,), step.body)
                    _put(circuit, WhileLoopOp(expression(step.condition, clbits), body), body.qubits, body.clbits)

    def store(self, circuit: QuantumCircuit, clbit: Clbit, value: Formula) -> None:
        _put(circuit, Store(expr.lift(clbit), expression(value, self._clbits)))

    def _body(self, around: Sequence[Plain], steps: Sequence[Plain]) -> QuantumCircuit:
        """Return a circuit of steps, over all bits that the enclosing operation needs."""
        needed = sorted(bits_read(around) | bits_written(around))
        qubits = [self._qubits[k] for k in sorted(qubits_used(around))]
        # With a name: Qiskit numbers others, and the same program would give other bytes.
        body = QuantumCircuit(qubits, [self._clbits[k] for k in needed], name="body")
        self.fill(body, steps)
        return body


def _put(
    circuit: QuantumCircuit, operation: Instruction, qubits: Sequence[Qubit] = (), clbits: Sequence[Clbit] = ()
) -> None:
    circuit._append(CircuitInstruction(operation, qubits, clbits))
