# SPDX-License-Identifier: Apache-2.0
"""Convert a device to a transpiler target: qubits, gates, errors and control flow."""

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

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit_client.qiskit.native_gates import Places, known, measurements, native_gates, qubit_properties, resets

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


def target_of(device: Device, calibration: DeviceCalibration | None = None) -> Target:
    """Return the target of a device.

    With a calibration, it contains the native gates on the coupling map, with their errors and durations; else all
    gates on all qubits, without errors or durations. Gates that Qiskit does not know by name are omitted: the server
    compiles for the device.

    Args:
        device: the server's description.
        calibration: the measured properties of a device with a coupling map.
    """
    target = Target(
        description=device.name,
        num_qubits=device.num_qubits,
        dt=None if calibration is None else known(calibration, "dt"),
        qubit_properties=None if calibration is None else qubit_properties(calibration),
        concurrent_measurements=None,
    )
    everywhere: Places = {(qubit,): None for qubit in range(device.num_qubits)}
    if calibration is None:
        _add_all_gates(target, device)
        measured = reset = everywhere
    else:
        for gate, places in native_gates(device.basis_gates, calibration):
            target.add_instruction(gate, places)
        measured, reset = measurements(calibration), resets(calibration)
    target.add_instruction(Measure(), measured)
    target.add_instruction(Delay(Parameter("t")), everywhere)
    capabilities = device.capabilities
    if capabilities.reset:
        target.add_instruction(Reset(), reset)
    flow = (_BRANCHES if capabilities.conditionals else {}) | (_LOOPS if capabilities.loops else {})
    for name, kind in flow.items():
        target.add_instruction(kind, name=name)
    return target


def _add_all_gates(target: Target, device: Device) -> None:
    standard = get_standard_gate_name_mapping()
    for name in device.basis_gates:
        if name in standard:
            target.add_instruction(standard[name], name=name)
        elif name in _OF_ANY_WIDTH:
            target.add_instruction(_OF_ANY_WIDTH[name], name=name)
