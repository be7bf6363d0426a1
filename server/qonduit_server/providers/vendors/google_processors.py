# SPDX-License-Identifier: Apache-2.0
"""The processors of Quantum Engine as the server describes devices, and as the compiler takes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from cirq_google.api import v2
from cirq_google.cloud import quantum

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit_server.providers.shapes import processor_shapes
from qonduit_server.providers.shapes.processor_shapes import Processor

#: Precedes the ids of processors in the names of devices: GOOGLE/willow_pink is a simulator.
PREFIX: Final = "engine_"
_PAIR: Final = 2
_MAX_SHOTS: Final = 5_000_000
_HEALTH: Final = quantum.QuantumProcessor.Health
_SLOTS: Final = quantum.QuantumTimeSlot.TimeSlotType


def shape(found: quantum.QuantumProcessor) -> Processor:
    """Return the shape of a processor by its device specification."""
    specification = v2.device_pb2.DeviceSpecification.FromString(found.device_spec.value)
    pairs = [
        (target.ids[0], target.ids[1])
        for kind in specification.valid_targets
        for target in kind.targets
        if len(target.ids) == _PAIR
    ]
    durations = {str(gate.WhichOneof("gate")): gate.gate_duration_picos for gate in specification.valid_gates}
    return processor_shapes.processor(device_name(found.name), specification.valid_qubits, pairs, durations)


def calibration(processor: Processor, found: quantum.QuantumCalibration | None) -> DeviceCalibration:
    """Return the calibration of a processor; without measured values if Google has none."""
    snapshot = v2.metrics_pb2.MetricsSnapshot()
    if found is not None:
        snapshot = v2.metrics_pb2.MetricsSnapshot.FromString(found.data.value)
    metrics: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in snapshot.metrics:
        # The targets are names of qubits, with the prefix "q" in old snapshots.
        targets = tuple(target.removeprefix("q") for target in metric.targets)
        for value in metric.values[:1]:
            number = getattr(value, value.WhichOneof("val") or "double_val")
            if not isinstance(number, str):
                metrics.setdefault(metric.name, {})[targets] = float(number)
    known = processor_shapes.calibration(processor, metrics, snapshot.timestamp_ms)
    known.ClearField("calibrated_at")
    if found is not None and found.timestamp:
        known.calibrated_at.FromDatetime(found.timestamp)
    return known


def device(found: quantum.QuantumProcessor, shape: Processor, slots: Iterable[quantum.QuantumTimeSlot]) -> Device:
    """Describe a processor.

    Args:
        found: the processor.
        shape: its shape.
        slots: the next time slots of its schedule, in any order.
    """
    available = found.health == _HEALTH.OK
    described = Device(
        name=shape.name,
        num_qubits=shape.num_qubits,
        is_simulator=False,
        is_local=False,
        available=available,
        status_message=_status(found, slots),
        max_shots=_MAX_SHOTS,
        capabilities=DeviceCapabilities(
            mid_circuit_measurement=True,
            reset="reset" in shape.durations,
            parameters=True,
            coupling_map=True,
            job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR],
        ),
        basis_gates=shape.basis_gates,
    )
    if found.activity_stats:
        described.queue_depth = found.activity_stats.active_jobs_count
    return described


def device_name(resource: str) -> str:
    """Return the name of the device of a processor's resource."""
    return PREFIX + resource.rpartition("/")[2]


def processor_id(device: str) -> str:
    """Return the id of the processor of a device."""
    return device.removeprefix(PREFIX)


def _status(found: quantum.QuantumProcessor, slots: Iterable[quantum.QuantumTimeSlot]) -> str:
    """Return what the vendor reports of health and schedule, in its words."""
    parts = [f"health {getattr(found.health, 'name', found.health)}"]
    for label, time in (("down from", found.expected_down_time), ("back at", found.expected_recovery_time)):
        if time:
            parts.append(f"{label} {_minutes(time)}")
    if found.active_time_slot and found.active_time_slot.time_slot_type:
        parts.append(f"{_slot(found.active_time_slot)} until {_minutes(found.active_time_slot.end_time)}")
    following = sorted((slot for slot in slots if slot.time_slot_type), key=lambda slot: slot.start_time)
    parts += [f"{_slot(slot)} from {_minutes(slot.start_time)}" for slot in following[:2]]
    return ", ".join(parts)


def _slot(slot: quantum.QuantumTimeSlot) -> str:
    return str(getattr(slot.time_slot_type, "name", slot.time_slot_type))


def _minutes(time: Any) -> str:
    moment = datetime.fromtimestamp(time.timestamp(), UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")
