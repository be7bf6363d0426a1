# SPDX-License-Identifier: Apache-2.0
"""The machines of an IQM server as devices, and their calibrations. Imported only in the process that calls IQM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from iqm.station_control.client.qon import ObservationFinder
from iqm.station_control.interface.models.observation_set import QualityMetricSet

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit_server.providers.vendors.iqm_compiler import Machine

#: The shots of one job of this server, which may be several jobs at IQM.
_MAX_SHOTS: Final = 1_000_000
_TYPES: Final = (JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR)
#: IQM's name and that of OpenQASM.
_GATES: Final = {"prx": "r", "cz": "cz"}


def device_name(alias: str) -> str:
    """Return the name of the device of a quantum computer."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", alias)


def device(alias: str, machine: Machine, health: Mapping[str, Any]) -> Device:
    """Describe a machine.

    Args:
        alias: of the quantum computer.
        machine: with its calibration.
        health: as IQM reports it. It does not document more than that it is JSON.
    """
    healthy = health.get("healthy") is not False
    remarks = [f"{len(machine.qubits)} qubits are calibrated"]
    if not healthy:
        remarks.append("IQM reports that the machine is not healthy")
    if not machine.qubits:
        remarks.append("no jobs can run")
    return Device(
        name=device_name(alias),
        num_qubits=len(machine.qubits),
        is_simulator=False,
        is_local=False,
        available=healthy and bool(machine.qubits),
        status_message="; ".join(remarks),
        max_shots=_MAX_SHOTS,
        basis_gates=sorted(_GATES.values()),
        capabilities=DeviceCapabilities(
            mid_circuit_measurement=True,
            reset=bool(machine.resets),
            parameters=True,
            coupling_map=True,
            job_types=_TYPES,
        ),
    )


def calibration(machine: Machine, metrics: QualityMetricSet | None) -> DeviceCalibration:
    """Return the coupling map of a machine, with the measured values that IQM has."""
    found = DeviceCalibration()
    for first, second in sorted(machine.pairs):
        found.coupling_map.add(first=first, second=second)
    if metrics is not None:
        found.calibrated_at.FromDatetime(metrics.end_timestamp or metrics.created_timestamp)
    values = ObservationFinder(metrics.observations if metrics is not None else (), skip_unparseable=True)
    t1, t2 = values.get_coherence_times(machine.qubits)
    gates = machine.architecture.gates
    for number, name in enumerate(machine.qubits):
        implementation = gates["measure"].get_default_implementation((name,))
        wrong = values.get_measure_errors("measure", implementation, (name,)) or (None, None)
        found.qubits.add(
            qubit=number, name=name, t1=t1.get(name), t2=t2.get(name), prob_1_given_0=wrong[0], prob_0_given_1=wrong[1]
        )
    numbers = {name: number for number, name in enumerate(machine.qubits)}
    for gate in (each for each in _GATES if each in gates):
        for locus in gates[gate].loci:
            fidelity = values.get_gate_fidelity(gate, gates[gate].get_default_implementation(locus), locus)
            if fidelity is not None and set(locus) <= numbers.keys():
                qubits = [numbers[name] for name in locus]
                found.gates.add(gate=_GATES[gate], qubits=qubits, error=1.0 - fidelity)
    return found
