# SPDX-License-Identifier: Apache-2.0
"""Where a device could not run a program: which devices of this server can."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.task_pb2 import ProgramNeeds, TaskEvent
from qonduit.v1.device_pb2 import Device
from qonduit_server.memory import usable_memory
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database

_CONSTRUCTS: Final = ("mid_circuit_measurement", "reset", "conditionals", "loops")
#: So many are named at most.
_NAMED: Final = 10


def name_alternatives(db: Database, event: TaskEvent, memory_limit_bytes: int) -> None:
    """Add to the message of a `program_failed` with needs which other devices have all of that; takes its needs away.

    Nothing is added where the device that failed has all of it: then it failed for another reason.

    Args:
        db: the store.
        event: is changed.
        memory_limit_bytes: what a job's simulation may take; 0 means as much as the machine has.
    """
    failed = event.program_failed
    needs = ProgramNeeds()
    needs.CopyFrom(failed.needs)
    failing = catalogue.device_of_job(db, event.job_id)
    failed.ClearField("needs")
    if failing is None:
        return
    memory = failed.failure.reason == "MEMORY_LIMIT"
    if not memory and _has(failing, needs, failing.num_qubits):
        return

    def able(device: Device, qubits: int) -> bool:
        return device.id != failing.id and _has(device, needs, qubits)

    sure = catalogue.devices_that(db, lambda device: able(device, _sure_qubits(device, memory_limit_bytes)))
    if sure:
        failed.failure.message += f"; these can: {', '.join(sure[:_NAMED])}"
    elif not catalogue.devices_that(db, lambda device: able(device, device.num_qubits)):
        failed.failure.message += "; no device of this server can"


def _has(device: Device, needs: ProgramNeeds, qubits: int) -> bool:
    return needs.num_qubits <= qubits and all(
        getattr(device.capabilities, name) or not getattr(needs, name) for name in _CONSTRUCTS
    )


def _sure_qubits(device: Device, memory_limit_bytes: int) -> int:
    """The qubits that a device has for a job in any case: each halving of the memory costs a simulator one."""
    if not (memory_limit_bytes and device.is_simulator and device.is_local):
        return device.num_qubits
    return device.num_qubits - max(0, -(-usable_memory() // memory_limit_bytes) - 1).bit_length()
