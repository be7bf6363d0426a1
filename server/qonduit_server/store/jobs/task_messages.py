# SPDX-License-Identifier: Apache-2.0
"""The tasks of leased jobs, as workers receive them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, false, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.jobs.job_spec import whole_specs
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.ownership import cache_scope, owner_of
from qonduit_server.store.program_queue import PROGRAMS, queue_name
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import devices, programs
from qonduit_server.store.writer import Transaction

_SELECT_PROGRAMS: Final = Query(select(programs.c.id, programs.c.program).where(among(programs.c.id, "ids")))
_SELECT_AT_VENDORS: Final = Query(
    select(devices.c.id, devices.c.description).where(among(devices.c.id, "ids"), devices.c.is_local == false())
)


def tasks_of(
    transaction: Transaction,
    unit: UnitOfWork,
    claimed: Sequence[Sequence[JobChange]],
    credentials: Mapping[int, str],
    known: Mapping[int, bytes] | None = None,
) -> list[Callable[[], list[Task]]]:
    """Read what the tasks of jobs consist of, with the credentials of the jobs that use one.

    Args:
        transaction: the transaction.
        unit: contains the jobs.
        claimed: the jobs of each claim.
        credentials: by the id of the job.
        known: all programs, by id, of jobs whose devices are no vendor's; by default, they are read.

    Returns:
        For each claim a function that returns its tasks. Call it after the commit, in which the answers arrive
        (queries.py).
    """
    if not any(claimed):
        return [list for _ in claimed]
    jobs = [entry.job for entry in unit.entries.values()]
    read = (lambda: (known, {})) if known is not None else _ask(transaction.connection, jobs)
    whole = whole_specs(transaction.connection, jobs, for_tasks=True)
    specs = {job.id: spec for job, spec in zip(jobs, whole, strict=True)}

    def tasks(leased: Sequence[JobChange]) -> list[Task]:
        programs, at_vendors = read()
        sources = {
            run.program_id: QuantumProgram.FromString(programs[run.program_id])
            for entry in leased
            for run in entry.job.program_runs
        }
        return [
            _task(
                entry.job,
                specs[entry.job.id],
                sources,
                credentials.get(entry.job.id, ""),
                at_vendors.get(entry.job.executed_on_id),
            )
            for entry in leased
        ]

    return [partial(tasks, leased) for leased in claimed]


def _ask(connection: Connection, jobs: Sequence[Job]) -> Callable[[], tuple[Mapping[int, bytes], Mapping[int, Device]]]:
    """Ask for the programs of jobs, and for those of their devices that are at vendors, by id."""
    ids = {run.program_id for job in jobs for run in job.program_runs}
    programs = _SELECT_PROGRAMS.ask(connection, {"ids": list(ids)})
    at_vendors = _SELECT_AT_VENDORS.ask(connection, {"ids": list({job.executed_on_id for job in jobs})})
    return lambda: (dict(programs()), {row[0]: Device.FromString(row[1]) for row in at_vendors()})


def _task(
    job: Job, spec: JobSpec, sources: Mapping[int, QuantumProgram], credential: str, vendor_device: Device | None
) -> Task:
    provider, device = queue_name(job), job.device.partition("/")[2]
    is_program = provider == PROGRAMS
    return Task(
        job_id=job.id,
        attempt=job.attempt,
        returned_attempts=job.returned_attempts,
        provider=provider,
        device=job.device if is_program else device,
        vendor_device=None if is_program else vendor_device,
        spec=spec,
        credential=credential,
        cache_scope=cache_scope(owner_of(job)),
        programs=[task_program(run.program_id, sources[run.program_id], run.points_done) for run in job.program_runs],
    )


def task_program(program_id: int, source: QuantumProgram, points_done: int = 0) -> TaskProgram:
    """Return a program for a worker, with its own default inputs; it starts after the points that are done."""
    return TaskProgram(
        program_id=program_id,
        language=source.assembler_language,
        text=source.quantum_circuit,
        binary=source.quantum_circuit_binary,
        inputs=source.python_file_inputs if source.HasField("python_file_inputs") else None,
        points_done=points_done,
        file=source.python_file_path,
        metadata=source.python_file_metadata,
        options=source.python_file_options if source.HasField("python_file_options") else None,
    )
