# SPDX-License-Identifier: Apache-2.0
"""The devices of Amazon Braket as the server describes them: names, limits, prices and calibrations.

Imported only in the process that calls Braket.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from braket.schema_common import BraketSchemaBase

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device, DeviceCapabilities, DevicePrice, VendorJobLimits
from qonduit.v1.job_pb2 import JobType
from qonduit_server.ir.braket_names import BRAKET_NAMES

#: Braket charges this amount for a task on a quantum processor, besides its shots, in US dollars. No API of Braket
#: contains it.
TASK_FEE: Final = 0.3
CURRENCY: Final = "USD"
#: Braket stops a task of a simulator after this time, in minutes. No API of Braket contains it.
_MAX_MINUTES: Final = 360.0
_ACTION: Final = "braket.ir.openqasm.program"
SET_ACTION: Final = "braket.ir.openqasm.program_set"
_AMAZON: Final = "amazon"
#: Units of times in seconds.
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}
_OPENQASM_NAMES: Final = {braket: name for name, braket in reversed(BRAKET_NAMES.items())}
_SHOWN_CHARACTERS: Final = 500


def device_name(arn: str) -> str:
    """Return the name of a device: the maker and the device, as in the ARN ("ionq_Aria-1", "amazon_sv1")."""
    maker, _, name = arn.rpartition(":")[2].partition("/")[2].partition("/")[2].partition("/")
    return f"{maker}_{name}"


def device_arn(name: str, region: str) -> str:
    """Return the ARN of a device; that of a quantum processor contains its region."""
    maker, _, own = name.partition("_")
    if maker == _AMAZON:
        return f"arn:aws:braket:::device/quantum-simulator/{maker}/{own}"
    return f"arn:aws:braket:{region}::device/qpu/{maker}/{own}"


def properties_of(answer: Mapping[str, Any]) -> Any:
    """Return the capabilities of a device from GetDevice, as a model of the SDK; None if the SDK cannot read them."""
    with contextlib.suppress(Exception):  # the SDK raises what its models raise, for devices newer than the SDK
        return BraketSchemaBase.parse_raw_schema(answer["deviceCapabilities"])
    return None


def _price(properties: Any) -> DevicePrice | None:
    """Return the prices of a device, in US dollars: a processor is charged by shots, and a simulator by time."""
    cost = properties.service.deviceCost if properties is not None else None
    if cost is not None and cost.unit == "shot":
        return DevicePrice(job=TASK_FEE, shot=float(cost.price), unit=CURRENCY)
    if cost is not None and cost.unit == "minute":
        return DevicePrice(minute=float(cost.price), max_minutes=_MAX_MINUTES, unit=CURRENCY)
    return None


def device(answer: Mapping[str, Any], properties: Any) -> Device | None:
    """Describe a device; None if it does not run circuits in OpenQASM."""
    action = properties.action.get(_ACTION) if hasattr(properties, "paradigm") else None
    if action is None or not hasattr(properties.paradigm, "qubitCount"):
        return None
    is_simulator = answer["deviceType"] == "SIMULATOR"
    graph = getattr(properties.paradigm, "connectivity", None)
    operations = [each.lower() for each in action.supportedOperations or ()]
    return Device(
        name=device_name(answer["deviceArn"]),
        price=_price(properties),
        num_qubits=properties.paradigm.qubitCount,
        is_simulator=is_simulator,
        is_local=False,
        available=answer["deviceStatus"] == "ONLINE",
        status_message=_status(answer, properties)[:_SHOWN_CHARACTERS],
        max_shots=properties.service.shotsRange[1],
        vendor_job=_set_limits(properties.action.get(SET_ACTION)),
        capabilities=DeviceCapabilities(
            parameters=True,
            coupling_map=graph is not None and not graph.fullyConnected,
            job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR],
        ),
        basis_gates=sorted({_OPENQASM_NAMES[each] for each in operations if each in _OPENQASM_NAMES}),
    )


def _set_limits(action: Any) -> VendorJobLimits | None:
    """Return the limits of a task with a set of programs; None if the device does not run sets."""
    if action is None or action.maximumExecutables < 2:
        return None
    shots, least = action.maximumTotalShots, action.minimumTotalShots or 0
    return VendorJobLimits(circuits=action.maximumExecutables, shots=shots, min_shots=least)


def calibration(properties: Any) -> DeviceCalibration | None:
    """Return what Braket has measured of a quantum processor; None if it publishes nothing."""
    graph = getattr(getattr(properties, "paradigm", None), "connectivity", None)
    standard = getattr(properties, "standardized", None)
    pairs = list(_pairs(graph.connectivityGraph)) if graph is not None and not graph.fullyConnected else []
    if standard is None and not pairs:
        return None
    found = DeviceCalibration()
    for first, second in pairs:
        found.coupling_map.add(first=first, second=second)
    if (updated := properties.service.updatedAt) is not None:
        found.calibrated_at.FromDatetime(_utc(updated))
    for name, each in sorted(
        (getattr(standard, "oneQubitProperties", None) or {}).items(), key=lambda item: int(item[0])
    ):
        _add_qubit(found, int(name), each)
    for name, pair in sorted((getattr(standard, "twoQubitProperties", None) or {}).items()):
        for gate in getattr(pair, "twoQubitGateFidelity", None) or ():
            qubits = [int(each) for each in name.split("-")]
            if (direction := getattr(gate, "direction", None)) is not None:
                qubits = [int(each) for each in direction.values()]
            gate_name = gate.gateName.lower()
            found.gates.add(gate=_OPENQASM_NAMES.get(gate_name, gate_name), qubits=qubits, error=_error(gate.fidelity))
    return found


def _add_qubit(found: DeviceCalibration, number: int, measured: Any) -> None:
    qubit = found.qubits.add(qubit=number)
    for name, time in (("t1", measured.T1), ("t2", measured.T2)):
        unit = getattr(time.unit, "value", time.unit)
        if unit in _SECONDS:
            setattr(qubit, name, float(time.value) * _SECONDS[unit])
    for each in measured.oneQubitFidelity:
        kind = str(getattr(each.fidelityType, "name", ""))
        if kind.startswith("READOUT") and "ERROR" not in kind:
            qubit.prob_1_given_0 = qubit.prob_0_given_1 = _error(each.fidelity)


def _error(fidelity: float) -> float:
    return max(0.0, 1.0 - float(fidelity))


def _pairs(graph: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, int]]:
    for first, others in sorted(graph.items(), key=lambda item: int(item[0])):
        for second in sorted(others, key=int):
            yield int(first), int(second)


def _utc(time: datetime) -> datetime:
    """Return a time of Braket, which has no time zone in some answers, in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _status(answer: Mapping[str, Any], properties: Any) -> str:
    """Return what Braket reports of a device now, its price and the times at which it runs tasks."""
    parts = [f"{answer['providerName']} {answer['deviceName']}: {answer['deviceStatus'].lower()}"]
    for queue in answer.get("deviceQueueInfo") or ():
        if queue["queue"] == "QUANTUM_TASKS_QUEUE" and queue.get("queuePriority", "Normal") == "Normal":
            parts.append(f"{queue['queueSize']} tasks wait")
    if (cost := properties.service.deviceCost) is not None:
        parts.append(f"{cost.price} USD a {cost.unit}")
    windows = [
        f"{getattr(each.executionDay, 'value', each.executionDay)} "
        f"{each.windowStartHour:%H:%M}-{each.windowEndHour:%H:%M} UTC"
        for each in properties.service.executionWindows
    ]
    return ", ".join([*parts, *windows])
