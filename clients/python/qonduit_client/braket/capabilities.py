# SPDX-License-Identifier: Apache-2.0
"""Convert the capabilities of a device to those of the Braket SDK."""

from __future__ import annotations

from typing import Any, Final

from braket.default_simulator import DensityMatrixSimulator, StateVectorSimulator
from braket.device_schema.simulators import GateModelSimulatorDeviceCapabilities

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType
from qonduit_client.client import Client

_OPENQASM: Final = "braket.ir.openqasm.program"
_PROGRAM_SET: Final = "braket.ir.openqasm.program_set"
_OBSERVABLES: Final = ["x", "y", "z", "h", "hermitian", "i"]
#: Result types that require the exact state.
_EXACT_ONLY: Final = frozenset(("StateVector", "DensityMatrix", "Amplitude"))


def find(client: Client, name: str) -> Device:
    """Return the device named "PROVIDER/device".

    Raises:
        ValueError: the server has no such device; the message lists its devices.
        QonduitError: the server rejected the call, or is unreachable.
    """
    devices = client.named_devices()
    if name not in devices:
        raise ValueError(f"Only the following devices are available: {', '.join(sorted(devices))}; got {name!r}")
    return devices[name]


def is_exact_estimator(device: Device) -> bool:
    """Return whether a device estimates exact expectation values and their gradients."""
    capabilities = device.capabilities
    return capabilities.statevector and JobType.JOB_TYPE_ESTIMATOR in capabilities.job_types


def properties_of(device: Device, most_programs: int) -> GateModelSimulatorDeviceCapabilities:
    """Return a device's properties, in the format of Braket's local simulator.

    Gates, modifiers and pragmas are those of Braket's statevector simulator, since the server compiles programs for
    any device, and those of its density-matrix simulator if the device runs noise. Numbers of qubits and shots, and
    support of shots=0, are those of the device.

    Args:
        device: the server's description.
        most_programs: the maximum number of programs per job.
    """
    described: dict[str, Any] = StateVectorSimulator().properties.dict()
    exact = device.capabilities.statevector
    openqasm = next(action for kind, action in described["action"].items() if kind.value == _OPENQASM)
    if device.capabilities.noise:
        noisy = next(
            action for kind, action in DensityMatrixSimulator().properties.action.items() if kind.value == _OPENQASM
        )
        openqasm["supportedOperations"] = list(noisy.supportedOperations)
        openqasm["supportedPragmas"] = sorted({*openqasm["supportedPragmas"], *noisy.supportedPragmas})
    openqasm["supportedResultTypes"] = [
        {
            **kind,
            "minShots": kind["minShots"] if exact else max(1, kind["minShots"]),
            "maxShots": kind["maxShots"] and device.max_shots,
        }
        for kind in openqasm["supportedResultTypes"]
        if exact or kind["name"] not in _EXACT_ONLY
    ]
    if is_exact_estimator(device):
        openqasm["supportedResultTypes"].append(
            {"name": "AdjointGradient", "observables": _OBSERVABLES, "minShots": 0, "maxShots": 0}
        )
        openqasm["supportedPragmas"] = sorted({*openqasm["supportedPragmas"], "braket_result_type_adjoint_gradient"})
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
