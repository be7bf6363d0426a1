# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: submitting, reading, cancelling and deleting jobs."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit_server.errors import (
    AlreadyExists,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from qonduit_server.lifecycle import CANCELLED, CANCELLING, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store import catalogue, deployments, event_log
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_list, job_rows, queue
from qonduit_server.store.jobs.job_spec import spec_of
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.results import result_rows
from tests.store_fixture import (
    CALLER,
    claim,
    deployment,
    description,
    history,
    in_one_transaction,
    kinds,
    known_device,
    submit,
    succeed,
)


def new_job(db: Database, **changes: object) -> job_rows.NewJob:
    new = job_rows.NewJob(
        caller=CALLER,
        spec=JobSpec(shots=100, type=JOB_TYPE_RUNNER),
        device_id=known_device(db).id,
        deployment=deployment(),
        request_id=str(uuid.uuid4()),
        method="CreateJob",
        fingerprint=b"f",
    )
    return replace(new, **changes)  # type: ignore[arg-type]


def test_a_created_job_is_queued_and_its_first_event_contains_it(db: Database) -> None:
    job = submit(db, name="bell", programs=2)
    assert job.state == QUEUED
    assert (job.name, job.shots, job.seed, job.executed_by) == ("bell", 1000, 7, CALLER)
    assert job.HasField("progress")
    assert job.progress == 0.0
    assert not job.HasField("celery_id")
    assert job.device == "IBM/aer_simulator"
    assert not job.HasField("started_at")
    assert not job.HasField("finished_at")
    assert job.last_sequence == 1
    assert [(run.index, run.state) for run in job.program_runs] == [(0, QUEUED), (1, QUEUED)]
    assert job_rows.get(db, CALLER, job.id) == job
    (event,) = history(db, job.id)
    assert (event.sequence, event.job_id, event.created) == (1, job.id, job)
    stored = deployments.get(db, CALLER, job.deployment_id)
    assert [program.id for program in stored.programs] == [run.program_id for run in job.program_runs]


def test_a_job_names_its_device_and_the_server_that_runs_it_in_every_read(db: Database) -> None:
    names = ("IBM/aer_simulator", "IBM/other")
    catalogue.sync(db, [description(devices=("aer_simulator", "other"))])
    made = [submit(db, device=catalogue.device_by_name(db, name), request_id=str(uuid.uuid4())) for name in names]
    assert [job.device for job in made] == list(names)
    again = submit(db, device=catalogue.device_by_name(db, names[1]), request_id="twice")
    repeated = submit(db, device=catalogue.device_by_name(db, names[1]), request_id="twice")
    assert (repeated.id, repeated.device) == (again.id, names[1])
    assert job_rows.rerun(db, CALLER, made[1].id).job.device == names[1]
    # An owner whose answer was lost claims under a name derived from its server's.
    succeed(db, claim(db, "server/7", capacity=2), "server/7")
    (task,) = claim(db, "server", capacity=1)
    running = job_rows.get(db, CALLER, again.id)
    assert (running.id, running.server) == (task.job_id, "server")
    assert job_rows.cancel(db, CALLER, again.id).server == "server"
    assert {job.device for job in job_list.list_page(db, CALLER).items} == set(names)
    assert {job.id for job in job_list.list_page(db, CALLER).items if job.server} == {again.id}
    for job, name in zip(made, names, strict=True):
        reads = [
            event.created if event.HasField("created") else event.state_change.job
            for event in history(db, job.id)
            if event.HasField("created") or event.HasField("state_change")
        ]
        assert [(each.device, each.server) for each in reads] == [(name, ""), (name, "server"), (name, "")]
        assert not any(each.HasField("celery_id") for each in reads)
    queue.release(db, "server", {(again.id, 1): None}, "stopping")
    assert job_rows.get(db, CALLER, again.id).server == ""


def test_a_submit_notifies_the_dispatcher(db: Database) -> None:
    known_device(db)
    wakes: list[Notification] = []
    stop = db.notifications.subscribe(wakes.append)
    job = submit(db)
    stop()
    submit(db)
    assert [(notification.queue, notification.jobs) for notification in wakes] == [(True, frozenset({job.id}))]


def test_a_repeated_request_returns_the_current_job_also_after_it_ended(db: Database) -> None:
    new = new_job(db)
    first = job_rows.create(db, new)
    assert not first.deduplicated
    again = job_rows.create(db, new)
    assert again.deduplicated
    assert again.job == first.job
    assert not succeed(db, claim(db))
    ended = job_rows.create(db, new)
    assert ended.deduplicated
    assert ended.job.id == first.job.id
    assert ended.job.state == SUCCEEDED


def test_a_request_id_is_unique_per_caller_and_method(db: Database) -> None:
    new = new_job(db)
    first = job_rows.create(db, new)
    with pytest.raises(AlreadyExists) as caught:
        job_rows.create(db, replace(new, fingerprint=b"other"))
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert job_rows.create(db, replace(new, method="RunJob", fingerprint=b"other")).job.id != first.job.id
    assert job_rows.create(db, replace(new, caller="bob")).job.id != first.job.id


def test_equal_submits_from_many_threads_make_one_job(db: Database) -> None:
    new = new_job(db)
    barrier = threading.Barrier(32)

    def create(_: int) -> job_rows.Created:
        barrier.wait()
        return job_rows.create(db, new)

    with ThreadPoolExecutor(32) as pool:
        made = list(pool.map(create, range(32)))
    assert len({created.job.id for created in made}) == 1
    assert sum(not created.deduplicated for created in made) == 1
    assert len(job_list.list_page(db, CALLER).items) == 1


def test_one_bad_submit_among_many_fails_alone(db: Database) -> None:
    good = new_job(db)
    news = [replace(good, request_id=str(uuid.uuid4())) for _ in range(40)]
    news[7] = replace(good, request_id="", deployment=None, deployment_id=999)
    news[9] = replace(news[8], fingerprint=b"other")
    barrier = threading.Barrier(40)

    def create(new: job_rows.NewJob) -> job_rows.Created | CallError:
        barrier.wait()
        try:
            return job_rows.create(db, new)
        except CallError as error:
            return error

    with ThreadPoolExecutor(40) as pool:
        made = list(pool.map(create, news))
    assert isinstance(made[7], NotFound)
    assert {type(made[8]), type(made[9])} == {job_rows.Created, AlreadyExists}
    assert sum(isinstance(one, job_rows.Created) for one in made) == 38


def test_invalid_submits_are_refused(db: Database) -> None:
    with pytest.raises(NotFound):
        job_rows.create(db, new_job(db, device_id=4711))
    for deployment_id in (4711, 0, -1, 2**63 - 1, 2**70):
        with pytest.raises(NotFound):
            job_rows.create(db, new_job(db, deployment=None, deployment_id=deployment_id))
    for bad in ({"caller": "a\0b"}, {"request_id": "a\0b"}, {"name": "a\0b"}, {"caller": "\ud800"}):
        with pytest.raises(InvalidArgument):
            job_rows.create(db, new_job(db, **bad))
    with pytest.raises(InvalidArgument):
        job_rows.create(db, new_job(db, name="x" * 100_000))
    others = deployments.create(db, "bob", deployment())
    with pytest.raises(NotFound):
        job_rows.create(db, new_job(db, deployment=None, deployment_id=others.id))
    assert job_list.list_page(db, CALLER).items == []


def test_programs_may_contain_any_text_and_large_numbers_are_kept(db: Database) -> None:
    text = "// \0 nul, \U0001f600 and " + "x" * 1_000_000
    odd = Deployment(programs=[QuantumProgram(quantum_circuit=text, id=5, deployment_id=6)])
    job = job_rows.create(db, new_job(db, deployment=odd, spec=spec_of(Job(shots=2**62, seed=2**32 - 1)))).job
    assert (job_rows.get(db, CALLER, job.id).shots, job.seed, job.type) == (2**62, 2**32 - 1, JOB_TYPE_RUNNER)
    (stored,) = deployments.get(db, CALLER, job.deployment_id).programs
    assert stored.quantum_circuit == text
    assert stored.deployment_id == job.deployment_id
    (task,) = claim(db)
    assert task.programs[0].text == text


def test_an_unavailable_device_accepts_no_jobs(db: Database) -> None:
    device = known_device(db)
    catalogue.sync(db, [description(unavailable="install qonduit-quantum[ibm]")])
    with pytest.raises(FailedPrecondition, match="install"):
        job_rows.create(db, new_job(db, device_id=device.id))


def test_a_full_queue_refuses_jobs_and_accepts_them_again_after_a_claim(db: Database) -> None:
    for _ in range(3):
        submit(db, max_queued=3)
    with pytest.raises(ResourceExhausted):
        submit(db, max_queued=3)
    submit(db, max_queued=0)
    assert len(claim(db, capacity=3)) == 3
    submit(db, max_queued=3)


def test_submits_of_one_transaction_share_the_room_that_is_left(db: Database) -> None:
    submit(db, max_queued=3)
    new = new_job(db)
    calls = [partial(job_rows.create, db, replace(new, request_id=str(number), max_queued=3)) for number in range(5)]
    errors = [each.exception() for each in in_one_transaction(db, calls)]
    assert [type(each) for each in errors] == [type(None)] * 2 + [ResourceExhausted] * 3


def test_other_callers_cannot_see_a_job(db: Database) -> None:
    job = submit(db)
    for call in (
        job_rows.get,
        job_rows.cancel,
        job_rows.delete,
        job_rows.rerun,
        event_log.require_job,
        result_rows.list_page,
        event_log.list_page,
    ):
        with pytest.raises(NotFound):
            call(db, "bob", job.id)
    assert job_list.list_page(db, "bob").items == []
    assert job_rows.get(db, CALLER, job.id) == job


@pytest.mark.parametrize("job_id", [0, -1, 12345, 2**63 - 1, 2**63, 2**200])
def test_unknown_ids_are_not_found(db: Database, job_id: int) -> None:
    for call in (
        job_rows.get,
        job_rows.cancel,
        job_rows.delete,
        job_rows.rerun,
        event_log.require_job,
        result_rows.get,
        result_rows.list_page,
    ):
        with pytest.raises(NotFound):
            call(db, CALLER, job_id)
    with pytest.raises(NotFound):
        event_log.read_after(db, job_id, 0, 10)


def test_cancel_before_during_and_after_a_run(db: Database) -> None:
    queued = submit(db)
    cancelled = job_rows.cancel(db, CALLER, queued.id)
    assert cancelled.state == CANCELLED
    assert cancelled.HasField("finished_at")
    assert cancelled.program_runs[0].state == CANCELLED
    assert kinds(db, queued.id) == ["created", "state_change"]
    assert claim(db) == []

    running = submit(db)
    (task,) = claim(db)
    wakes: list[Notification] = []
    db.notifications.subscribe(wakes.append)
    assert job_rows.cancel(db, CALLER, running.id).state == CANCELLING
    assert wakes[-1].cancels
    change = history(db, running.id)[-1].state_change
    assert (change.from_state, change.to_state, change.job.state) == (RUNNING, CANCELLING, CANCELLING)
    again = job_rows.cancel(db, CALLER, running.id)
    assert (again.state, again.last_sequence) == (CANCELLING, 3)

    # The job ended before the cancel took effect.
    assert not succeed(db, [task])
    ended = job_rows.cancel(db, CALLER, running.id)
    assert ended.state == SUCCEEDED
    assert ended.last_sequence == len(history(db, running.id))


def test_delete_removes_events_and_results_and_notifies_watchers(db: Database) -> None:
    job = submit(db)
    with pytest.raises(FailedPrecondition, match="QUEUED"):
        job_rows.delete(db, CALLER, job.id)
    tasks = claim(db)
    with pytest.raises(FailedPrecondition, match="RUNNING"):
        job_rows.delete(db, CALLER, job.id)
    succeed(db, tasks)
    (result,) = result_rows.list_page(db, CALLER, job.id).items
    wakes: list[Notification] = []
    db.notifications.subscribe(wakes.append)
    job_rows.delete(db, CALLER, job.id)
    assert wakes[-1].jobs == {job.id}
    for gone in (lambda: job_rows.get(db, CALLER, job.id), lambda: result_rows.get(db, CALLER, result.id)):
        with pytest.raises(NotFound):
            gone()
    with pytest.raises(NotFound):
        event_log.read_after(db, job.id, 0, 10)
    assert event_log.read_after_many(db, [(job.id, 0)], 10) == {job.id: None}
    assert submit(db).id > job.id


def test_a_rerun_has_the_programs_that_ran_and_its_own_history(db: Database) -> None:
    first = submit(db, name="mine", programs=2)
    succeed(db, claim(db))
    deployments.update(db, CALLER, Deployment(id=first.deployment_id, programs=deployment(3).programs))
    request = str(uuid.uuid4())
    again = job_rows.rerun(db, CALLER, first.id, request)
    assert not again.deduplicated
    assert again.job.id != first.id
    assert (again.job.name, again.job.shots, again.job.seed) == ("mine", 1000, 7)
    assert [run.program_id for run in again.job.program_runs] == [run.program_id for run in first.program_runs]
    assert kinds(db, again.job.id) == ["created"]
    repeated = job_rows.rerun(db, CALLER, first.id, request)
    assert repeated.deduplicated
    assert repeated.job.id == again.job.id
    other = submit(db)
    with pytest.raises(AlreadyExists):
        job_rows.rerun(db, CALLER, other.id, request)
    assert [len(task.programs) for task in claim(db)] == [2, 1]
