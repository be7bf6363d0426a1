# SPDX-License-Identifier: Apache-2.0
"""What a device of a server can do, in the words in which Braket's SDK describes devices."""

from __future__ import annotations

from typing import Any, Final

from braket.default_simulator import StateVectorSimulator
from braket.device_schema.simulators import GateModelSimulatorDeviceCapabilities

from qonduit.v1.device_pb2 import Device
from qonduit_client.client import Client

_OPENQASM: Final = "braket.ir.openqasm.program"
_PROGRAM_SET: Final = "braket.ir.openqasm.program_set"
#: Result types that are exact: they need the state, not shots.
_EXACT_ONLY: Final = frozenset(("StateVector", "DensityMatrix", "Amplitude"))


def find(client: Client, name: str) -> Device:
    """Return the device that is named as "PROVIDER/device".

    Raises:
        ValueError: there is none of that name; the message lists those that there are.
        QonduitError: the server refused, or is not there.
    """
    devices = client.named_devices()
    if name not in devices:
        raise ValueError(f"Only the following devices are available: {', '.join(sorted(devices))}; not {name!r}")
    return devices[name]


def properties_of(device: Device, most_programs: int) -> GateModelSimulatorDeviceCapabilities:
    """Return a device's properties, in the form of those of Braket's local simulator.

    Programs are what Braket's simulator of statevectors takes (its gates, modifiers and pragmas), since the server
    compiles them for whatever device; how many qubits and shots, and whether shots=0 is possible, is the device's own.

    Args:
        device: as the server describes it.
        most_programs: how many programs one job may have.
    """
    described: dict[str, Any] = StateVectorSimulator().properties.dict()
    exact = device.capabilities.statevector
    openqasm = next(action for kind, action in described["action"].items() if kind.value == _OPENQASM)
    openqasm["supportedResultTypes"] = [
        {
            **kind,
            "minShots": kind["minShots"] if exact else max(1, kind["minShots"]),
            "maxShots": kind["maxShots"] and device.max_shots,
        }
        for kind in openqasm["supportedResultTypes"]
        if exact or kind["name"] not in _EXACT_ONLY
    ]
    return GateModelSimulatorDeviceCapabilities.parse_obj(
        {
            **described,
            "service": {**described["service"], "shotsRange": (0 if exact else 1, device.max_shots)},
            "action": {
                _OPENQASM: openqasm,
                _PROGRAM_SET: {
                    "actionType": _PROGRAM_SET,
                    "version": ["1"],
                    "maximumExecutables": most_programs,
                    "maximumTotalShots": most_programs * device.max_shots,
                },
            },
            "paradigm": {"qubitCount": device.num_qubits},
        }
    )
