# SPDX-License-Identifier: Apache-2.0
"""Add the compatible devices of this server to the failure of a program."""

from __future__ import annotations

from qonduit.execution.v1.task_pb2 import ProgramNeeds, TaskEvent
from qonduit_server.capabilities import Requirements, compatible_devices, list_devices, meets
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database


def add_compatible_devices(db: Database, event: TaskEvent) -> None:
    """Replace the requirements in a `program_failed` event by a list of compatible devices in its message.

    The message is unchanged if the device that failed meets the requirements: then the failure has another reason.

    Args:
        db: the store.
        event: the event to change.
    """
    failed = event.program_failed
    needs = ProgramNeeds()
    needs.CopyFrom(failed.needs)
    failed.ClearField("needs")
    failing = catalogue.device_of_job(db, event.job_id)
    if failing is None:
        return
    requirements = Requirements(needs)
    if failed.failure.reason != "MEMORY_LIMIT" and meets(failing, requirements):
        return
    others = compatible_devices(catalogue.devices_by_name(db), requirements, exclude_id=failing.id)
    failed.failure.message += f"; {list_devices(others)}"
