# SPDX-License-Identifier: Apache-2.0
"""When a job may start, and before which other jobs of its caller."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from operator import index
from typing import Any, Final, TypeAlias, TypedDict

from qonduit.v1.job_pb2 import Job


class ScheduleFields(TypedDict, total=False):
    """The fields of a schedule.

    Attributes:
        priority: -10 to 10; jobs of the same caller with a higher one start first. By default 0.
        not_before: the time before which the job does not start, with a time zone.
        expires_at: the time at which the job fails with the reason EXPIRED if it still waits, with a time zone.
    """

    priority: int
    not_before: datetime
    expires_at: datetime


#: The fields by name: {"priority": 5, "expires_at": datetime.now(UTC) + timedelta(hours=1)}.
Schedule: TypeAlias = ScheduleFields | Mapping[str, Any]

_TIMES: Final = ("not_before", "expires_at")


def set_schedule(job: Job, schedule: Schedule) -> None:
    """Set the fields of a schedule in a job.

    Raises:
        ValueError: a field is unknown, or a time has no time zone.
        TypeError: a value has the wrong type.
    """
    for field, value in schedule.items():
        if field == "priority":
            job.priority = index(value)  # type: ignore[arg-type]
        elif field not in _TIMES:
            raise ValueError(f"schedule: fields are priority, {', '.join(_TIMES)}, got {field!r}")
        elif not isinstance(value, datetime):
            raise TypeError(f"schedule: {field} must be a datetime, got {value!r}")
        elif value.tzinfo is None:
            raise ValueError(f"schedule: {field} must have a time zone, as datetime.now(UTC), got {value!r}")
        else:
            getattr(job, field).FromDatetime(value)
