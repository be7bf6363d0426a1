# SPDX-License-Identifier: Apache-2.0
"""Where a device could not run a program: which devices of this server can."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.task_pb2 import ProgramNeeds, TaskEvent
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database

#: So many are named at most.
_NAMED: Final = 10


def add_compatible_devices(db: Database, event: TaskEvent) -> None:
    """Add to the message of a `program_failed` with needs which other devices have all of that; takes its needs away.

    Nothing is added where the device that failed has all of it: then it failed for another reason.

    Args:
        db: the store.
        event: is changed.
    """
    failed = event.program_failed
    needs = ProgramNeeds()
    needs.CopyFrom(failed.needs)
    failing = catalogue.device_of_job(db, event.job_id)
    failed.ClearField("needs")
    if failing is None:
        return
    memory = failed.failure.reason == "MEMORY_LIMIT"
    if not memory and catalogue.meets(failing, needs):
        return
    able = catalogue.devices_that(db, lambda device: device.id != failing.id and catalogue.meets(device, needs))
    if able:
        failed.failure.message += f"; these can: {', '.join(able[:_NAMED])}"
    else:
        failed.failure.message += "; no device of this server can"
