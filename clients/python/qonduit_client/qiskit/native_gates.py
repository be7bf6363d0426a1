# SPDX-License-Identifier: Apache-2.0
"""Convert the calibration of a device to the parts of a transpiler target: where gates act, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from qiskit.circuit import Instruction
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, QubitProperties

from qonduit.v1.calibration_pb2 import DeviceCalibration, QubitCalibration

#: The qubits on which an operation acts, and its error and duration there.
Places: TypeAlias = dict[tuple[int, ...], InstructionProperties | None]
#: Stands for the native gates for two qubits of a device if Qiskit has none of them; the server decomposes it.
_ENTANGLING: Final = "cz"


def native_gates(basis_gates: Iterable[str], calibration: DeviceCalibration) -> list[tuple[Instruction, Places]]:
    """Return the native gates that Qiskit has, with their places.

    A gate that is not in the calibration acts on all qubits, or on all pairs of the coupling map, with unknown errors.

    Args:
        basis_gates: the native gates of the device.
        calibration: of the device.
    """
    standard = get_standard_gate_name_mapping()
    pairs = [(pair.first, pair.second) for pair in calibration.coupling_map]
    unknown: Mapping[int, Places] = {
        1: {(qubit.qubit,): None for qubit in calibration.qubits},
        2: dict.fromkeys(pairs),
    }
    found = [standard[name] for name in basis_gates if name in standard and standard[name].num_qubits in unknown]
    if all(gate.num_qubits == 1 for gate in found) and pairs:
        found.append(standard[_ENTANGLING])
    measured = _measured_gates(calibration)
    return [(gate, measured.get(gate.name, unknown[gate.num_qubits])) for gate in found]


def resets(calibration: DeviceCalibration) -> Places:
    """Return the places of resets, with their durations if these are known."""
    everywhere: Places = {(qubit.qubit,): None for qubit in calibration.qubits}
    return everywhere | _measured_gates(calibration).get("reset", {})


def measurements(calibration: DeviceCalibration) -> Places:
    """Return the places of measurements; their error is the mean of both readout errors."""
    return {
        (qubit.qubit,): InstructionProperties(duration=known(qubit, "readout_duration"), error=_readout_error(qubit))
        for qubit in calibration.qubits
    }


def qubit_properties(calibration: DeviceCalibration) -> list[QubitProperties]:
    """Return the relaxation and dephasing times of the qubits."""
    return [QubitProperties(t1=known(each, "t1"), t2=known(each, "t2")) for each in calibration.qubits]


def known(message: Any, field: str) -> float | None:
    """Return the value of a field, or None if it is not set."""
    return getattr(message, field) if message.HasField(field) else None


def _measured_gates(calibration: DeviceCalibration) -> dict[str, Places]:
    found: dict[str, Places] = {}
    for gate in calibration.gates:
        properties = InstructionProperties(duration=known(gate, "duration"), error=known(gate, "error"))
        found.setdefault(gate.gate, {})[tuple(gate.qubits)] = properties
    return found


def _readout_error(qubit: QubitCalibration) -> float | None:
    up, down = known(qubit, "prob_1_given_0"), known(qubit, "prob_0_given_1")
    return None if up is None or down is None else (up + down) / 2
