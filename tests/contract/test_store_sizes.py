# SPDX-License-Identifier: Apache-2.0
"""How many bytes ten thousand jobs take, each with forty parameters of its own: stored, streamed and listed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit_server.store import deployments, event_log, schema
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows
from tests.store_fixture import CALLER, claim, deployment, known_device, succeed

JOBS = 10_000
PARAMETERS = 40
#: What a job takes besides its inputs, in bytes: its rows and six events; the events; its place in a list.
STORED, STREAMED, LISTED = 800, 650, 250
#: No event and no job in a list is larger, whatever a job asks for.
MOST = 16 * 1024


def ask(db: Database, count: int, parameters: int, *, same: bool) -> tuple[list[int], int]:
    """Run jobs with inputs; return their ids, and how many bytes the inputs of one are."""
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
    """What jobs and their events take, and what large options take."""
    columns = (schema.jobs.c.spec, schema.jobs.c.program_runs, schema.events.c.payload, schema.options.c.data)
    with db.read() as connection:
        queries = [select(func.coalesce(func.sum(func.length(column)), 0)) for column in columns]
        sums = [int(connection.execute(query).scalar_one()) for query in queries]
    return sum(sums[:3]), sums[3]


def streamed_bytes(db: Database, ids: list[int]) -> int:
    """What watchers of these jobs are sent."""
    sizes = [len(event.payload) for job_id in ids for event in event_log.read_after(db, job_id, 0, 100)]
    assert max(sizes) < MOST
    return sum(sizes)


def listed_bytes(db: Database) -> tuple[int, int]:
    """How many jobs the first page lists, and their bytes."""
    jobs = job_rows.list_page(db, CALLER, 1000).items
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
    # A reference, with a kibibyte of names, stands in the row and in the first event.
    reference = 1600
    assert rows < 100 * (2 * reference + STORED)
    assert streamed_bytes(db, ids) < 100 * (reference + STREAMED)
    listed, size = listed_bytes(db)
    assert listed == 100
    assert size < listed * (reference + LISTED)
