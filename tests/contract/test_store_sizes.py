# SPDX-License-Identifier: Apache-2.0
"""The bytes of ten thousand jobs, each with forty different parameters: stored, streamed and listed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit_server.store import deployments, event_log, schema
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_list, job_rows
from tests.store_fixture import CALLER, claim, deployment, known_device, succeed

JOBS = 10_000
PARAMETERS = 40
#: Bytes of a job besides its inputs: its rows and six events; the events; its entry in a list.
STORED, STREAMED, LISTED = 800, 650, 250
#: The largest event and the largest job in a list, whatever options a job has.
MOST = 16 * 1024


def ask(db: Database, count: int, parameters: int, *, same: bool) -> tuple[list[int], int]:
    """Run jobs with inputs; return their ids, and the bytes of one job's inputs."""
    device, stored = known_device(db), deployments.create(db, CALLER, deployment())

    def submit(number: int) -> Job:
        spec = JobSpec(shots=1000, type=JOB_TYPE_RUNNER, seed=7)
        spec.inputs.update({f"theta_{k}": 0.1 * k + (0 if same else number) for k in range(parameters)})
        sizes.add(spec.inputs.ByteSize())
        return job_rows.create(db, job_rows.NewJob(CALLER, spec, device.id, deployment_id=stored.id)).job

    sizes: set[int] = set()
    with ThreadPoolExecutor(32) as pool:
        ids = [job.id for job in pool.map(submit, range(count))]
    while tasks := claim(db, capacity=500):
        assert {len(task.spec.inputs.fields) for task in tasks} == {parameters}
        succeed(db, tasks)
    (size,) = sizes
    return ids, size


def stored_bytes(db: Database) -> tuple[int, int]:
    """Return the bytes of jobs with their events, and of large options."""
    columns = (schema.jobs.c.spec, schema.jobs.c.program_runs, schema.events.c.payload, schema.options.c.data)
    with db.read() as connection:
        queries = [select(func.coalesce(func.sum(func.length(column)), 0)) for column in columns]
        sums = [int(connection.execute(query).scalar_one()) for query in queries]
    return sum(sums[:3]), sums[3]


def streamed_bytes(db: Database, ids: list[int]) -> int:
    """Return the bytes that watchers of these jobs receive."""
    sizes = [len(event.payload) for job_id in ids for event in event_log.read_after(db, job_id, 0, 100)]
    assert max(sizes) < MOST
    return sum(sizes)


def listed_bytes(db: Database) -> tuple[int, int]:
    """Return the number of jobs on the first page, and their bytes."""
    jobs = job_list.list_page(db, CALLER, 1000).items
    assert max(job.ByteSize() for job in jobs) < MOST
    return len(jobs), sum(job.ByteSize() for job in jobs)


@pytest.mark.timeout(300)
def test_ten_thousand_jobs_with_forty_parameters_each(db: Database) -> None:
    ids, inputs = ask(db, JOBS, PARAMETERS, same=False)
    rows, options = stored_bytes(db)
    assert options == 0
    assert rows < JOBS * (2 * inputs + STORED)
    assert streamed_bytes(db, ids[::20]) < len(ids[::20]) * (inputs + STREAMED)
    listed, size = listed_bytes(db)
    assert listed == 1000
    assert size < listed * (inputs + LISTED)


@pytest.mark.parametrize("same", [True, False])
def test_jobs_with_the_largest_inputs(db: Database, same: bool) -> None:
    ids, inputs = ask(db, 100, 2500, same=same)
    assert inputs > 60_000
    rows, options = stored_bytes(db)
    assert options == (inputs if same else 100 * inputs)
    # The row and the first event contain a reference, with a kibibyte of names.
    reference = 1600
    assert rows < 100 * (2 * reference + STORED)
    assert streamed_bytes(db, ids) < 100 * (reference + STREAMED)
    listed, size = listed_bytes(db)
    assert listed == 100
    assert size < listed * (reference + LISTED)
