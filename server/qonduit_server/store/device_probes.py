# SPDX-License-Identifier: Apache-2.0
"""Probes of the bit order of devices at vendors: a job whose only right outcome shows each wrong order of bits.

A probe is an ordinary job of the owner of a credential, so its quotas hold. The server makes one for each device that a
vendor lists for the first time. A device whose probe had a wrong outcome accepts no jobs. One whose probe did not run
accepts them, and is probed again when its devices are refreshed on request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import CallError, NotFound, Unavailable
from qonduit_server.lifecycle import is_terminal
from qonduit_server.store import credentials
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.ownership import project_of
from qonduit_server.store.results import result_rows
from qonduit_server.store.vendor_tables import ProbeState, device_probes
from qonduit_server.store.writer import Operation, Transaction

#: `x` on the second of four qubits, into registers of unequal size. The reversal of all bits, or of those of a
#: register, and another order of registers give other outcomes.
PROGRAM: Final = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[4];
creg a[1];
creg b[3];
x q[1];
measure q[0] -> a[0];
measure q[1] -> b[0];
measure q[2] -> b[1];
measure q[3] -> b[2];
"""
RIGHT: Final = "0x1 0x0"
_SHOTS: Final = 100
#: Machines are noisy: the right outcome must have this share of the shots, and no other one can.
_SHARE: Final = 0.5
_TEXT: Final = 300
#: Who executes the probes of a project.
_CALLER: Final = "qonduit"

_OPEN: Final = (
    select(device_probes).where(device_probes.c.state == bindparam("state")).order_by(device_probes.c.device_id)
)
_KNOWN: Final = select(device_probes.c.device_id).where(among(device_probes.c.device_id, "ids"))
_INSERT: Final = sa.insert(device_probes)
_RETRY: Final = sa.delete(device_probes).where(
    among(device_probes.c.device_id, "ids"), device_probes.c.state == bindparam("not_run")
)
_UPDATE: Final = (
    sa.update(device_probes)
    .where(device_probes.c.device_id == bindparam("device"), device_probes.c.state == bindparam("before"))
    .values(job_id=bindparam("job"), state=bindparam("after"), message=bindparam("text"), ended_at=bindparam("ended"))
)


class _New(NamedTuple):
    device_ids: Collection[int]
    credential_id: int


class _End(NamedTuple):
    device_id: int
    job_id: int | None
    state: ProbeState
    message: str


def begin(db: Database, device_ids: Collection[int], credential_id: int) -> None:
    """Note that devices are to be probed with a stored credential, by its owner, unless they were."""
    if device_ids:
        db.write(_BEGIN, _New(device_ids, credential_id))


def advance(db: Database, devices: Mapping[int, str]) -> None:
    """Create the jobs of open probes of devices, which are given by id and name, and read those that have ended."""
    with db.read() as connection:
        rows = connection.execute(_OPEN, {"state": int(ProbeState.OPEN)}).all()
    for row in rows:
        if row.device_id in devices:
            _advance(db, row, devices[row.device_id])


def _advance(db: Database, row: Any, name: str) -> None:
    if row.job_id is None:
        try:
            job = _create(db, row, name)
        except Unavailable:
            raise
        except CallError as error:
            db.write(_END, _End(row.device_id, None, ProbeState.NOT_RUN, f"the probe did not run: {error}"))
        else:
            db.write(_END, _End(row.device_id, job.id, ProbeState.OPEN, ""))
        return
    try:
        job = job_rows.get(db, None, row.job_id)
    except NotFound:
        db.write(_END, _End(row.device_id, None, ProbeState.NOT_RUN, "the job of the probe was deleted"))
        return
    if is_terminal(job.state):
        db.write(_END, _End(row.device_id, job.id, *_judge(db, job)))


def _create(db: Database, row: Any, name: str) -> Job:
    """Create the job of a probe; the same one if it was created before."""
    program = QuantumProgram(quantum_circuit=PROGRAM, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
    owner = credentials.get(db, None, row.credential_id).owner
    project = project_of(owner)
    new = job_rows.NewJob(
        caller=_CALLER if project else owner,
        project=project,
        spec=JobSpec(
            type=JobType.JOB_TYPE_RUNNER,
            shots=_SHOTS,
            credential_id=row.credential_id,
            labels={"qonduit": "probe"},
        ),
        name=f"bit order of {name}",
        device_id=row.device_id,
        device=name,
        deployment=Deployment(programs=[program]),
        request_id=f"probe-{row.device_id}-{row.credential_id}",
        method="RefreshDevices",
        fingerprint=b"probe",
    )
    return job_rows.create(db, new).job


def _judge(db: Database, job: Job) -> tuple[ProbeState, str]:
    """Return the state and the message of a probe whose job has ended."""
    if job.state != JobState.JOB_STATE_SUCCEEDED:
        reason = job.failure.reason or JobState.Name(job.state).removeprefix("JOB_STATE_")
        return ProbeState.NOT_RUN, f"the probe did not run: job {job.id}: {reason}"
    counts: dict[str, int] = {}
    for result in result_rows.list_page(db, None, job.id).items:
        counts = dict(result.counts_and_probabilities.counts)
    shots = sum(counts.values())
    if shots and counts.get(RIGHT, 0) >= _SHARE * shots:
        return ProbeState.PASSED, ""
    most = max(counts, key=lambda key: counts[key]) if counts else "nothing"
    return ProbeState.FAILED, (
        f"its bits are not in the expected order: the probe, job {job.id}, measured {most} most often, and {RIGHT} is "
        "right. Report it to the authors of the provider"
    )


def _begin(transaction: Transaction, calls: Sequence[_New]) -> list[None]:
    for call in calls:
        ids = {"ids": list(call.device_ids)}
        transaction.connection.execute(_RETRY, {**ids, "not_run": int(ProbeState.NOT_RUN)})
        known = set(transaction.connection.execute(_KNOWN, ids).scalars())
        values = {"credential_id": call.credential_id, "state": int(ProbeState.OPEN)}
        for device_id in sorted(set(call.device_ids) - known):
            transaction.connection.execute(_INSERT, {"device_id": device_id, **values})
    return [None] * len(calls)


def _end(transaction: Transaction, calls: Sequence[_End]) -> list[None]:
    for call in calls:
        values = {
            "device": call.device_id,
            "before": int(ProbeState.OPEN),
            "after": int(call.state),
            "job": call.job_id,
        }
        ended = transaction.now if call.state != ProbeState.OPEN else None
        transaction.connection.execute(_UPDATE, {**values, "text": call.message[:_TEXT] or None, "ended": ended})
        transaction.catalogue |= call.state in (ProbeState.PASSED, ProbeState.FAILED)
    return [None] * len(calls)


_BEGIN: Final = Operation(_begin)
_END: Final = Operation(_end)
