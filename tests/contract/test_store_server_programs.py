# SPDX-License-Identifier: Apache-2.0
"""The contract of uploads and of the versions of server programs, on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_server.errors import FailedPrecondition, NotFound, QuotaExceeded
from qonduit_server.store import (
    audit_list,
    catalogue,
    deployment_list,
    deployments,
    event_log,
    program_tables,
    program_versions,
)
from qonduit_server.store.admin import adoption, user_data
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows
from qonduit_server.store.jobs.job_rows import NewJob
from qonduit_server.store.jobs.upload_recording import CheckedUpload
from qonduit_server.store.program_versions import NewVersion
from qonduit_server.store.results import result_rows
from qonduit_server.store.users import quota_rows
from tests.store_fixture import claim, known_device, submit

PROGRAM = QuantumProgram(
    quantum_circuit="def main(backend, user_messenger): ...",
    assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON,
)


def upload(db: Database, name: str, caller: str = "anna", failure: Failure | None = None) -> Job:
    version = NewVersion(
        deployments.prepare(caller, Deployment(name=name, programs=[PROGRAM])),
        ServerProgram(sha256="00", entry_point="main"),
    )
    checked = CheckedUpload(None if failure else version, failure, 0.25)
    new = NewJob(
        caller=caller,
        spec=JobSpec(type=JobType.JOB_TYPE_IBM_UPLOAD),
        device_id=0,
        deployment=Deployment(programs=[PROGRAM]),
        upload=checked,
    )
    return job_rows.create(db, new).job


def receipt(db: Database, job: Job, caller: str = "anna") -> ServerProgram:
    (result,) = result_rows.list_page(db, {caller}, job.id).items
    return result.upload


def test_an_upload_ends_in_the_transaction_that_creates_it(db: Database) -> None:
    known_device(db)
    submit(db, caller="anna")
    job = upload(db, "vqe")
    assert (job.state, job.executed_on_id, job.device) == (JobState.JOB_STATE_SUCCEEDED, 0, "")
    assert job == job_rows.get(db, {"anna"}, job.id)
    events = event_log.list_page(db, {"anna"}, job.id).items
    assert [event.sequence for event in events] == list(range(1, job.last_sequence + 1))
    assert events[0].created.state == JobState.JOB_STATE_QUEUED
    stored = receipt(db, job)
    assert (stored.name, stored.version, stored.upload_job_id) == ("vqe", 1, job.id)
    assert stored.deployment_id != job.deployment_id
    version = deployments.get(db, {"anna"}, stored.deployment_id)
    assert version.server_program == stored
    assert version.programs[0].id == stored.program_id
    # The upload waits in no queue, and takes no job of it.
    assert [task.job_id for task in claim(db)] == [job.id - 1]


def test_a_failed_upload_stores_no_version(db: Database) -> None:
    failure = Failure(
        category=FailureCategory.FAILURE_CATEGORY_PROGRAM, reason="SYNTAX_ERROR", message="line 1", line=1
    )
    job = upload(db, "vqe", failure=failure)
    assert job.state == JobState.JOB_STATE_FAILED
    assert job.program_runs[0].failure == failure
    with pytest.raises(NotFound):
        program_versions.find(db, ["anna"], "vqe", None)
    assert receipt(db, upload(db, "vqe")).version == 1


def test_versions_are_numbered_for_each_owner_and_name(db: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _: upload(db, "vqe"), range(20)))
    assert sorted(receipt(db, job).version for job in jobs) == list(range(1, 21))
    assert receipt(db, upload(db, "other")).version == 1
    assert receipt(db, upload(db, "vqe", "ben"), "ben").version == 1
    latest = program_versions.find(db, ["anna"], "vqe", None)
    assert deployments.get(db, {"anna"}, latest).server_program.version == 20
    third = program_versions.find(db, ["projects/lab", "anna"], "vqe", 3)
    assert deployments.get(db, {"anna"}, third).server_program.version == 3
    with pytest.raises(NotFound, match="vqe@21"):
        program_versions.find(db, ["anna", "ben"], "vqe", 21)


def test_two_servers_that_upload_one_name_at_once_number_its_versions_without_gaps(
    db: Database, database_url: str
) -> None:
    with closing(open_database(database_url)) as other, ThreadPoolExecutor(8) as threads:
        servers = [db, other] * 12
        jobs = list(threads.map(lambda server: upload(server, "vqe"), servers))
        versions = [receipt(server, job) for server, job in zip(servers, jobs, strict=True)]
        assert sorted(each.version for each in versions) == list(range(1, 25))
        for version in versions:
            assert deployments.get(other, {"anna"}, version.deployment_id).server_program == version
            assert program_versions.find(db, ["anna"], "vqe", version.version) == version.deployment_id


def test_the_audit_log_names_the_version_of_an_upload(db: Database) -> None:
    with acting(Act("anna", "JobService/CreateJob")):
        job = upload(db, "vqe")
        failed = upload(db, "vqe", failure=Failure(reason="SYNTAX_ERROR"))
    named = {entry.object for entry in audit_list.list_page(db, 100).items}
    assert named == {f"jobs/{job.id}", f"deployments/{receipt(db, job).deployment_id}", f"jobs/{failed.id}"}


def test_a_version_changes_only_its_labels(db: Database) -> None:
    version = receipt(db, upload(db, "vqe"))
    for change in (Deployment(name="new"), Deployment(programs=[PROGRAM])):
        change.id = version.deployment_id
        with pytest.raises(FailedPrecondition, match="never changes") as caught:
            deployments.update(db, {"anna"}, change)
        assert caught.value.reason == "IMMUTABLE_PROGRAM"
    labelled = deployments.update(db, {"anna"}, Deployment(id=version.deployment_id, labels={"a": "b"}))
    assert labelled.server_program == version


def test_the_number_of_a_deleted_version_is_not_used_again(db: Database) -> None:
    version = receipt(db, upload(db, "vqe"))
    deployments.delete(db, {"anna"}, version.deployment_id)
    assert receipt(db, upload(db, "vqe")).version == 2


def test_lists_select_versions(db: Database) -> None:
    for name in ("vqe", "vqe", "qaoa"):
        upload(db, name)
    deployments.create(db, "anna", Deployment(name="vqe", programs=[PROGRAM]))

    def found(filter: str) -> list[tuple[str, int]]:
        page = deployment_list.list_page(db, "anna", filter=filter)
        return [(each.name, each.server_program.version) for each in page.items if each.name]

    assert found("server_program = true") == [("qaoa", 1), ("vqe", 2), ("vqe", 1)]
    assert found('server_program = true AND name = "vqe" AND version > 1') == [("vqe", 2)]
    assert found("server_program = false") == [("vqe", 0)]
    assert found("version:*") == [("qaoa", 1), ("vqe", 2), ("vqe", 1)]


def test_no_list_contains_the_missing_device(db: Database) -> None:
    known_device(db)
    upload(db, "vqe")
    assert all(device.id for device in catalogue.list_devices(db).items)
    assert all(provider.id for provider in catalogue.list_providers(db).items)
    with pytest.raises(NotFound):
        catalogue.device(db, 0)
    (job,) = job_list.list_page(db, "anna", filter="executed_on_id = 0").items
    assert job.type == JobType.JOB_TYPE_IBM_UPLOAD
    with pytest.raises(FailedPrecondition, match="is an upload"):
        job_rows.rerun(db, "anna", job.id)


def test_the_bytes_of_a_version_count_against_the_quota(db: Database) -> None:
    quota_rows.set_quota(db, "anna", QuotaValues(stored_bytes=3 * PROGRAM.ByteSize()))
    upload(db, "vqe")
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        upload(db, "vqe")


def test_an_adoption_hands_over_names_with_all_versions(db: Database) -> None:
    for _ in range(2):
        upload(db, "vqe")
    upload(db, "qaoa")
    upload(db, "vqe", "ben")
    adoption.adopt(db, "anna", "ben")
    found = [
        (each.server_program.name, each.server_program.version)
        for each in deployment_list.list_page(db, "ben", filter="server_program = true").items
    ]
    assert sorted(found) == [("qaoa", 1), ("vqe", 1), ("vqe-2", 1), ("vqe-2", 2)]
    assert receipt(db, upload(db, "vqe-2", "ben"), "ben").version == 3
    assert receipt(db, upload(db, "vqe")).version == 1


def test_nothing_remains_of_the_programs_of_a_deleted_user(db: Database) -> None:
    upload(db, "vqe")
    assert user_data.delete(db, "anna") == 0
    with db.read() as connection:
        assert not connection.execute(select(program_tables.program_versions)).all()
