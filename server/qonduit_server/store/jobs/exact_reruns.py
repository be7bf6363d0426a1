# SPDX-License-Identifier: Apache-2.0
"""The provenance of a job's results, for a new job that must return the same counts and values."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.provenance_pb2 import Provenance
from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import FailedPrecondition
from qonduit_server.lifecycle import FAILED, SUCCEEDED
from qonduit_server.store import calibrations
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.schema import results

_IDS: Final = (
    select(results.c.id)
    .where(results.c.job_id == bindparam("job"))
    .order_by(results.c.position, results.c.point, results.c.id)
)
_RESULTS: Final = select(results.c.result).where(among(results.c.id, "ids"))
#: What results of one job have in common, whatever their programs.
_COMMON: Final = ("device", "calibration_sha256", "versions", "seed")
_READ_AT_ONCE: Final = 20


def required_provenance(connection: Connection, job: Job, device: Device) -> Provenance:
    """Return what an exact rerun of a job requires.

    Args:
        connection: reads the results.
        job: the job to repeat.
        device: its device, as it is now.

    Raises:
        FailedPrecondition: the job cannot be repeated exactly; its reason is NOT_REPRODUCIBLE.
    """
    if not device.is_simulator:
        raise _refusal(job, f"{job.device} is not a simulator")
    if job.state not in (SUCCEEDED, FAILED):
        raise _refusal(job, f"it is {JobState.Name(job.state)} and has no complete results")
    found: list[Provenance] = []
    # Attempts may have run on different versions; one attempt runs in one environment.
    ids = connection.execute(_IDS if job.attempt > 1 else _IDS.limit(1), {"job": job.id}).scalars().all()
    for start in range(0, len(ids), _READ_AT_ONCE):
        for data in connection.execute(_RESULTS, {"ids": list(ids[start : start + _READ_AT_ONCE])}).scalars():
            result = Result.FromString(data)
            if result.HasField("provenance") and (own := _common(result.provenance)) not in found:
                found.append(own)
    if not found:
        raise _refusal(job, "its results have no provenance: it failed, or an older server ran it")
    if len(found) > 1:
        raise _refusal(job, "its results come from attempts on different versions")
    now = calibrations.sha256(connection, device.id)
    if found[0].calibration_sha256 != now:
        raise _refusal(
            job,
            f"the hash of the calibration of {job.device} was {found[0].calibration_sha256 or 'none'} "
            f"and is {now or 'none'} now",
        )
    return found[0]


def _common(provenance: Provenance) -> Provenance:
    found = Provenance()
    found.CopyFrom(provenance)
    for field in provenance.DESCRIPTOR.fields:
        if field.name not in _COMMON:
            found.ClearField(field.name)
    return found


def _refusal(job: Job, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"job {job.id} cannot be repeated exactly: {why}. Run it again without `exact`",
        subject=f"jobs/{job.id}",
        reason="NOT_REPRODUCIBLE",
    )
