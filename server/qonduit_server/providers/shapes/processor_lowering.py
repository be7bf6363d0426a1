# SPDX-License-Identifier: Apache-2.0
"""Lowers IR circuits to the gates for one and two qubits with which compilation for Google's processors begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import cirq
from qiskit.circuit import Barrier, ControlFlowOp, Delay, Instruction, Measure, Reset, Store

from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.lowering import Lowering, bits_of
from qonduit_server.providers.shapes.processor_programs import FIXED, PAIR, ProcessorProgram

_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}

#: Gives a gate of the IR on qubits, in Cirq's form.
Convert: TypeAlias = Callable[[Instruction, Sequence[Any]], Any]


def lower(
    circuit: Circuit, device: str, convert: Convert, is_native: Callable[[Instruction], bool]
) -> ProcessorProgram:
    """Lower a circuit without noise.

    Args:
        circuit: the circuit.
        device: its name in messages, "GOOGLE/rainbow".
        convert: see `Convert`; for gates that `is_native` accepts.
        is_native: whether a gate can be converted.

    Raises:
        DeviceError: UNSUPPORTED_CONSTRUCT, a construct that no processor of Google has.
    """
    quantum = circuit.quantum
    lowering = Lowering(device, lambda gate: gate.num_qubits <= PAIR and is_native(gate))
    line = cirq.LineQubit.range(quantum.num_qubits)
    operations: list[Any] = []
    clbits: list[int | None] = []
    for instruction in quantum.data:
        operation = instruction.operation
        places, bits = bits_of(quantum, instruction)
        on = [line[place] for place in places]
        if isinstance(operation, Measure):
            operations.append(cirq.measure(*on, key=str(len(clbits))))
            clbits = [None if bit == bits[0] else bit for bit in clbits]
            clbits.append(bits[0])
        elif isinstance(operation, Reset):
            operations.append(cirq.ResetChannel().on(*on))
        elif isinstance(operation, Barrier):
            operations += [cirq.I(qubit).with_tags(FIXED) for qubit in on]
        elif isinstance(operation, Delay):
            operations += [_wait(operation).on(qubit).with_tags(FIXED) for qubit in on]
        elif isinstance(operation, (ControlFlowOp, Store)):
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{device} has no operations conditioned on measured bits")
        else:
            operations += [convert(gate, [on[index] for index in own]) for gate, own in lowering.expand(operation)]
    kept = [operation for operation in operations if operation.qubits]
    return ProcessorProgram(kept, clbits, quantum.num_qubits, circuit.qubit_names)


def _wait(delay: Delay) -> Any:
    unit = _SECONDS.get(delay.unit)
    if unit is None:
        raise DeviceError("UNSUPPORTED_CONSTRUCT", f"a delay must have a duration in seconds, got {delay.duration}")
    return cirq.WaitGate(cirq.Duration(nanos=float(delay.duration) * unit * 1e9))
