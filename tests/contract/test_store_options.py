# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: job options, and large options, which are stored once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import func, insert, select, update

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit_server.errors import NotFound
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.store import schema, stored_buffers
from qonduit_server.store.admin.retention import Retention, sweep
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import job_list, job_rows, large_options, queue
from qonduit_server.store.jobs.job_spec import INLINE_BYTES, LARGE
from tests.postgresql import PostgresqlServer
from tests.store_fixture import CALLER, claim, deployment, history, known_device, submit, succeed

#: About 17 KiB.
ANGLES = {f"theta_{k:03}": k / 7 for k in range(700)}


def asking(db: Database, inputs: dict[str, Any], **fields: Any) -> Job:
    """Queue a job with inputs."""
    spec = JobSpec(**{"shots": 10, "type": JOB_TYPE_RUNNER, **fields})
    spec.inputs.update(inputs)
    return job_rows.create(db, job_rows.NewJob(CALLER, spec, known_device(db).id, deployment=deployment())).job


def read_whole(db: Database, name: str, caller: str = CALLER) -> bytes:
    """Read a buffer to its end."""
    buffer = stored_buffers.find(db, caller, name)
    chunks = -(-buffer.size_bytes // buffer.chunk_bytes)
    assert buffer.read(chunks) in (None, b"")
    return b"".join(buffer.read(chunk) or b"" for chunk in range(chunks))


def stored(db: Database) -> tuple[int, int]:
    """Return the number of options, and of links from jobs to them."""
    with db.read() as connection:
        return (
            connection.execute(select(func.count()).select_from(schema.options)).scalar_one(),
            connection.execute(select(func.count()).select_from(schema.job_options)).scalar_one(),
        )


def test_a_spec_has_fields_of_a_job_and_the_same_bytes() -> None:
    of_job = Job.DESCRIPTOR.fields_by_number
    for field in JobSpec.DESCRIPTOR.fields:
        assert _kind(field) == _kind(of_job[field.number])
    for name in LARGE:
        assert {name, f"{name}_reference"} <= set(JobSpec.DESCRIPTOR.fields_by_name)


def _kind(field: FieldDescriptor) -> object:
    """Return the name and type of a field; a map's entries have a message type of their own in each message."""
    entry = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
    types = [(each.type, each.message_type, each.enum_type) for each in (entry.fields if entry else [field])]
    return field.name, field.is_repeated, field.has_presence, types


def test_options_reach_the_task_whole_and_every_rerun_of_the_job(db: Database) -> None:
    job = asking(db, {"theta": 0.7, "bits": "01"}, seed=3, include_statevector=True)
    (task,) = claim(db)
    assert (task.spec.shots, task.spec.seed, task.spec.include_statevector) == (10, 3, True)
    assert MessageToDict(task.spec.inputs) == {"theta": 0.7, "bits": "01"}
    succeed(db, [task])
    again = job_rows.rerun(db, CALLER, job.id).job
    (repeated,) = claim(db)
    assert (repeated.job_id, repeated.spec) == (again.id, task.spec)
    assert (again.inputs, again.seed, again.include_statevector) == (job.inputs, 3, True)


def test_small_inputs_are_in_the_job_and_its_first_event_only(db: Database) -> None:
    job = asking(db, {"bits": "0" * (INLINE_BYTES - 20)})
    assert not job.HasField("inputs_reference")
    succeed(db, claim(db))
    found = job_rows.get(db, CALLER, job.id)
    assert found.inputs == job.inputs
    assert job_list.list_page(db, CALLER).items == [found]
    first, *rest = history(db, job.id)
    assert first.created == job
    assert not any(event.state_change.job.HasField("inputs") for event in rest)
    found.ClearField("inputs")
    assert rest[-1].state_change.job == found
    assert stored(db) == (0, 0)
    with pytest.raises(NotFound):
        stored_buffers.find(db, CALLER, f"jobs/{job.id}/inputs")


def test_large_inputs_are_stored_once_and_jobs_refer_to_them(db: Database) -> None:
    job, other = asking(db, ANGLES), asking(db, dict(reversed(ANGLES.items())), seed=1)
    assert not job.HasField("inputs")
    reference = job.inputs_reference
    assert (reference.name, reference.count) == (f"jobs/{job.id}/inputs", len(ANGLES))
    assert list(reference.names) == sorted(ANGLES)[: len(reference.names)]
    assert 50 < len(reference.names) < 200
    data = read_whole(db, reference.name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (reference.size_bytes, reference.sha256)
    assert MessageToDict(Struct.FromString(data)) == ANGLES
    assert other.inputs_reference.sha256 == reference.sha256
    assert stored(db) == (1, 2)

    tasks = claim(db)
    assert [MessageToDict(task.spec.inputs) for task in tasks] == [ANGLES, ANGLES]
    assert not any(task.spec.HasField("inputs_reference") for task in tasks)
    succeed(db, tasks)
    found = job_rows.get(db, CALLER, job.id)
    assert found.inputs_reference == reference
    assert found in job_list.list_page(db, CALLER).items
    first, *rest = history(db, job.id)
    assert first.created == job
    assert not any(event.state_change.job.HasField("inputs_reference") for event in rest)
    again = job_rows.rerun(db, CALLER, job.id).job
    assert again.inputs_reference.name == f"jobs/{again.id}/inputs"
    assert stored(db) == (1, 3)
    assert MessageToDict(claim(db)[0].spec.inputs) == ANGLES


@pytest.mark.parametrize("size", [1, INLINE_BYTES + 1, 1024**2])
def test_client_data_are_stored_once_and_reach_no_task(db: Database, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    job, other = (asking(db, {"theta": theta}, client_data=data) for theta in (0.5, 0.7))
    assert not job.client_data
    reference = job.client_data_reference
    assert (reference.name, reference.size_bytes) == (f"jobs/{job.id}/client_data", size)
    assert reference.sha256 == other.client_data_reference.sha256 == hashlib.sha256(data).hexdigest()
    assert stored(db) == (1, 2)
    assert read_whole(db, reference.name) == data
    with pytest.raises(NotFound):
        stored_buffers.find(db, "another caller", reference.name)
    tasks = claim(db)
    assert [MessageToDict(task.spec.inputs)["theta"] for task in tasks] == [0.5, 0.7]
    assert not any(task.spec.client_data or task.spec.HasField("client_data_reference") for task in tasks)
    succeed(db, tasks)
    found = job_rows.get(db, CALLER, job.id)
    assert found.client_data_reference == reference
    assert found in job_list.list_page(db, CALLER).items
    first, *rest = history(db, job.id)
    assert first.created == job
    assert not any(event.state_change.job.HasField("client_data_reference") for event in rest)
    again = job_rows.rerun(db, CALLER, job.id).job
    assert read_whole(db, again.client_data_reference.name) == data
    assert stored(db) == (1, 3)


def test_a_lost_claim_returns_large_inputs_again(db: Database) -> None:
    job = asking(db, ANGLES)
    claim(db)
    ((task,),) = queue.claimed(db, ["me"]).values()
    assert (task.job_id, MessageToDict(task.spec.inputs)) == (job.id, ANGLES)


def test_only_the_caller_reads_large_inputs(db: Database) -> None:
    job, small = asking(db, ANGLES), submit(db)
    names = [f"jobs/{small.id}/inputs", f"jobs/{job.id}/shots", f"jobs/{job.id}/", f"jobs/{job.id}/inputs/x"]
    for name in (*names, "jobs/0/inputs", "jobs/1e3/inputs", f"jobs/{'9' * 19}/inputs", "jobs/inputs"):
        with pytest.raises(NotFound):
            stored_buffers.find(db, CALLER, name)
    with pytest.raises(NotFound):
        stored_buffers.find(db, "another caller", job.inputs_reference.name)


def test_an_option_of_many_chunks(db: Database) -> None:
    """Ten thousand points of forty parameters, as one option: the store itself has no limit."""
    point = [0.5] * 40
    job = asking(db, {"points": [point] * 10_000})
    reference = job.inputs_reference
    assert reference.size_bytes > 4_000_000
    assert hashlib.sha256(read_whole(db, reference.name)).hexdigest() == reference.sha256
    tasks = claim(db)
    assert len(tasks[0].spec.inputs["points"]) == 10_000
    succeed(db, tasks)
    assert max(event.ByteSize() for event in history(db, job.id)) < 1024
    assert job_rows.get(db, CALLER, job.id).ByteSize() < 1024


@pytest.mark.parametrize("how", ["deleted", "swept"])
def test_an_option_is_deleted_with_its_last_job(db: Database, how: str) -> None:
    def go(job: Job) -> None:
        if how == "deleted":
            job_rows.delete(db, CALLER, job.id)
        else:
            sweep(db, int((utc_now() + timedelta(days=1)).timestamp() * 1e6), threading.Event())

    first = asking(db, ANGLES)
    succeed(db, claim(db))
    second = asking(db, ANGLES)
    reading = stored_buffers.find(db, CALLER, first.inputs_reference.name)
    go(first)
    assert stored(db) == (1, 1)
    assert reading.read(0) is None  # a reader for a deleted job is cut off, though other jobs refer to the option
    assert read_whole(db, second.inputs_reference.name)
    succeed(db, claim(db))
    go(second)
    assert stored(db) == (0, 0)


def test_a_server_that_starts_deletes_options_without_a_job(db: Database) -> None:
    job = asking(db, ANGLES)
    with db._engine.begin() as connection:
        left = [{"sha256": f"{k:064x}", "data": b"x"} for k in range(2 * large_options.MAX_ERASED + 1)]
        connection.execute(insert(schema.options), left)
    swept = threading.Event()
    retention = Retention(db, 0, lambda line, **fields: fields["options"] == len(left) and swept.set())
    retention.start()
    assert swept.wait(100)
    retention.stop()
    assert stored(db) == (1, 1)
    assert read_whole(db, job.inputs_reference.name)


@pytest.mark.parametrize("moment", ["_INSERT", "_LINK"])
def test_a_new_job_keeps_the_option_whose_last_job_another_server_deletes(
    postgresql: PostgresqlServer, postgresql_template: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    url = postgresql.url(postgresql.new_database(postgresql_template))
    first, second = open_database(url), open_database(url)
    last = asking(first, ANGLES)
    succeed(first, claim(first))
    write: Callable[..., None] = getattr(large_options, moment)
    deleted = threading.Event()

    def write_and_delete(connection: Any, rows: Any) -> None:
        if moment == "_LINK" and not deleted.is_set():
            deleted.set()
            job_rows.delete(second, CALLER, last.id)
        write(connection, rows)
        if not deleted.is_set():
            deleted.set()
            job_rows.delete(second, CALLER, last.id)

    monkeypatch.setattr(large_options, moment, write_and_delete)
    job = asking(first, ANGLES)
    assert deleted.is_set()
    assert stored(first) == (1, 1)
    assert [task.job_id for task in claim(second)] == [job.id]
    first.close()
    second.close()


def test_a_job_of_an_older_schema_runs_and_keeps_its_options(db: Database) -> None:
    """Its spec is NULL: type, shots and seed are in columns, the other options beside its programs."""
    job = asking(db, {"theta": 0.7}, seed=5, include_statevector=True)
    before = Job(program_runs=job.program_runs, inputs=job.inputs, include_statevector=True).SerializeToString()
    with db._engine.begin() as connection:
        connection.execute(update(schema.jobs).values(spec=None, seed=5, program_runs=before))
    assert job_rows.get(db, CALLER, job.id) == job
    (task,) = claim(db)
    assert task.spec == JobSpec(type=JOB_TYPE_RUNNER, shots=10, seed=5, inputs=job.inputs, include_statevector=True)
    succeed(db, [task])
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, ended.inputs, ended.seed, ended.include_statevector) == (SUCCEEDED, job.inputs, 5, True)
    assert not history(db, job.id)[-1].state_change.job.HasField("inputs")
    job_rows.rerun(db, CALLER, job.id)
    assert claim(db)[0].spec == task.spec
