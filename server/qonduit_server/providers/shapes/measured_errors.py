# SPDX-License-Identifier: Apache-2.0
"""The errors of operations by a calibration, and the probability that a circuit runs without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from qonduit.v1.calibration_pb2 import DeviceCalibration, GateCalibration, QubitCalibration

MEASURE = "measure"
#: The name of an operation, and its qubits on the device.
PlacedOperation: TypeAlias = tuple[str, Sequence[int]]


class MeasuredErrors:
    """The properties of a device's gates and qubits, by name and number.

    Args:
        calibration: of the device; its qubits are in order.
    """

    def __init__(self, calibration: DeviceCalibration) -> None:
        self.qubits = calibration.qubits
        self._gates = {(gate.gate, tuple(gate.qubits)): gate for gate in calibration.gates}

    def gate(self, name: str, on: Sequence[int]) -> GateCalibration | None:
        """Return the properties of a gate on certain qubits; None if it has none."""
        return self._gates.get((name, tuple(on)))

    def success_probability(self, operations: Iterable[PlacedOperation]) -> float:
        """Return the product of 1 - error over operations."""
        product = 1.0
        for name, on in operations:
            if name == MEASURE:
                product *= 1 - (readout_error(self.qubits[on[0]]) or 0.0)
            else:
                gate = self.gate(name, on)
                product *= 1 - min(1.0, gate.error if gate is not None else 0.0)
        return product


def readout_error(qubit: QubitCalibration) -> float | None:
    """Return the mean of the two errors of a measurement; None if they are not known."""
    if not qubit.HasField("prob_1_given_0") or not qubit.HasField("prob_0_given_1"):
        return None
    return float((qubit.prob_1_given_0 + qubit.prob_0_given_1) / 2)
