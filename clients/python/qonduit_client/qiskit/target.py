# SPDX-License-Identifier: Apache-2.0
"""Convert a device to a transpiler target: qubits, gates and control flow."""

from __future__ import annotations

from typing import Final

from qiskit.circuit import (
    BoxOp,
    BreakLoopOp,
    ContinueLoopOp,
    Delay,
    ForLoopOp,
    IfElseOp,
    Instruction,
    Measure,
    Parameter,
    Reset,
    Store,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library import MCPhaseGate, MCXGate, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import Target

from qonduit.v1.device_pb2 import Device

#: Gates of any width, identified by their class.
_OF_ANY_WIDTH: Final[dict[str, type[Instruction]]] = {
    "unitary": UnitaryGate,
    "mcx": MCXGate,
    "mcphase": MCPhaseGate,
}
_BRANCHES: Final[dict[str, type[Instruction]]] = {
    "if_else": IfElseOp,
    "switch_case": SwitchCaseOp,
    "box": BoxOp,
    "store": Store,
}
_LOOPS: Final[dict[str, type[Instruction]]] = {
    "for_loop": ForLoopOp,
    "while_loop": WhileLoopOp,
    "break_loop": BreakLoopOp,
    "continue_loop": ContinueLoopOp,
}


def target_of(device: Device) -> Target:
    """Return the target of a device: all gates on all qubits, without errors or durations.

    Gates that Qiskit does not know by name are omitted: the server compiles for the device.
    """
    target = Target(
        description=device.name,
        num_qubits=device.num_qubits,
        concurrent_measurements=None,
    )
    standard = get_standard_gate_name_mapping()
    for name in device.basis_gates:
        if name in standard:
            target.add_instruction(standard[name], name=name)
        elif name in _OF_ANY_WIDTH:
            target.add_instruction(_OF_ANY_WIDTH[name], name=name)
    everywhere = {(qubit,): None for qubit in range(device.num_qubits)}
    target.add_instruction(Measure(), everywhere)
    target.add_instruction(Delay(Parameter("t")), everywhere)
    capabilities = device.capabilities
    if capabilities.reset:
        target.add_instruction(Reset(), everywhere)
    flow = (_BRANCHES if capabilities.conditionals else {}) | (_LOOPS if capabilities.loops else {})
    for name, kind in flow.items():
        target.add_instruction(kind, name=name)
    return target
