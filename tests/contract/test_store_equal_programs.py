# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: equal inline programs of a caller are stored once."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit_client.cli.as_json import as_line
from qonduit_server.errors import FailedPrecondition, NotFound
from qonduit_server.store import deployment_list, deployments, projects
from qonduit_server.store.admin import adoption, user_data, user_export
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.jobs.bulk_changes import delete_matching
from qonduit_server.store.recent_deployments import content_hash
from tests.store_fixture import BELL, CALLER, claim, deployment, known_device, succeed


def create(db: Database, inline: Deployment, caller: str = CALLER, project: str = "") -> Job:
    """Queue a job with these programs."""
    new = job_rows.NewJob(
        caller=caller,
        project=project,
        spec=JobSpec(shots=10, type=JOB_TYPE_RUNNER),
        device_id=known_device(db).id,
        deployment=inline,
        request_id=str(uuid.uuid4()),
    )
    return job_rows.create(db, new).job


def content_of(inline: Deployment) -> bytes:
    new = deployments.prepare(CALLER, inline, is_inline=True)
    return content_hash(new.owner, new.programs, new.labels)


def programs_of(job: Job) -> list[int]:
    return [run.program_id for run in job.program_runs]


def labelled(value: str) -> Deployment:
    found = deployment(2)
    found.labels["use"] = value
    return found


def changed() -> Deployment:
    found = deployment(2)
    found.programs[1].quantum_circuit += "// changed"
    return found


def test_equal_programs_are_stored_once(db: Database) -> None:
    first, second = (create(db, deployment(2)) for _ in range(2))
    assert second.id != first.id
    assert second.deployment_id == first.deployment_id
    assert programs_of(second) == programs_of(first)
    assert len(deployment_list.list_page(db, CALLER).items) == 1
    assert [[program.text for program in task.programs] for task in claim(db)] == [[BELL, BELL]] * 2


@pytest.mark.parametrize("other", [changed(), deployment(1), deployment(3), labelled("a"), deployment(2, name="named")])
def test_other_programs_labels_and_names_are_stored(db: Database, other: Deployment) -> None:
    first, second = create(db, deployment(2)), create(db, other)
    assert first.deployment_id != second.deployment_id
    assert not set(programs_of(first)) & set(programs_of(second))
    assert [len(task.programs) for task in claim(db)] == [2, len(other.programs)]


def test_callers_do_not_share_programs(db: Database) -> None:
    assert create(db, deployment()).deployment_id != create(db, deployment(), "another").deployment_id


def test_members_of_a_project_share_programs_of_its_jobs_alone(db: Database) -> None:
    projects.create(db, "anna", Project(name="lab"))
    projects.set_member(db, "anna", "lab", ProjectMember(user="ben", role=projects.MEMBER))
    projects.create(db, "anna", Project(name="other"))
    own, shared, other = (create(db, deployment(), "anna", project) for project in ("", "lab", "other"))
    assert len({job.deployment_id for job in (own, shared, other)}) == 3
    of_ben = create(db, deployment(), "ben", "lab")
    assert (of_ben.deployment_id, of_ben.executed_by) == (shared.deployment_id, "ben")
    assert create(db, deployment(), "ben").deployment_id not in (own.deployment_id, shared.deployment_id)


def test_named_deployments_are_not_shared(db: Database) -> None:
    assert create(db, deployment(name="a")).deployment_id != create(db, deployment(name="a")).deployment_id


def test_a_deployment_that_was_updated_is_not_shared(db: Database) -> None:
    first = create(db, deployment())
    deployments.update(db, CALLER, Deployment(id=first.deployment_id, programs=changed().programs))
    second = create(db, deployment())
    assert second.deployment_id != first.deployment_id
    assert [[program.text for program in task.programs] for task in claim(db)] == [[BELL]] * 2
    assert create(db, deployment()).deployment_id == second.deployment_id


def test_a_shared_deployment_remains_until_its_last_job(db: Database) -> None:
    first, second = create(db, deployment()), create(db, deployment())
    succeed(db, claim(db))
    job_rows.delete(db, CALLER, first.id)
    with pytest.raises(FailedPrecondition) as raised:
        deployments.delete(db, CALLER, second.deployment_id)
    assert raised.value.kind == "IN_USE"
    assert deployments.get(db, CALLER, second.deployment_id).programs[0].quantum_circuit == BELL
    job_rows.delete(db, CALLER, second.id)
    deployments.delete(db, CALLER, second.deployment_id)
    with pytest.raises(NotFound):
        deployments.get(db, CALLER, second.deployment_id)
    third = create(db, deployment())
    assert third.deployment_id > second.deployment_id
    assert [program.text for program in claim(db)[0].programs] == [BELL]


def test_deleted_jobs_leave_the_programs_of_others(db: Database) -> None:
    first, second = create(db, deployment()), create(db, deployment())
    job_rows.cancel(db, CALLER, first.id)
    assert delete_matching(db, CALLER, "state = CANCELLED").job_ids == [first.id]
    (task,) = claim(db)
    assert task.job_id == second.id
    assert not succeed(db, [task])
    assert job_rows.rerun(db, CALLER, second.id).job.deployment_id == first.deployment_id


def test_shared_programs_are_exported_once_and_deleted_with_their_owner(db: Database, tmp_path: Path) -> None:
    jobs = [create(db, deployment(), "anna") for _ in range(2)]
    kept = create(db, deployment(), "ben")
    assert user_export.export(db, "anna", tmp_path / "out", as_line)["deployments"] == 1
    (line,) = (tmp_path / "out" / "deployments.jsonl").read_text().splitlines()
    assert [program["id"] for program in json.loads(line)["programs"]] == programs_of(jobs[0])
    assert user_data.delete(db, "anna") == 0
    assert set(user_data.remains(db, "anna").values()) == {0}
    new = create(db, deployment(), "anna")
    assert new.deployment_id not in (jobs[0].deployment_id, kept.deployment_id)
    assert [[program.text for program in task.programs] for task in claim(db)] == [[BELL]] * 2


def test_a_deployment_of_another_owner_since_an_adoption_is_not_shared(db: Database) -> None:
    first = create(db, deployment(), "anna")
    adoption.adopt(db, "anna", "ben")
    second, third = create(db, deployment(), "anna"), create(db, deployment(), "ben")
    assert len({job.deployment_id for job in (first, second, third)}) == 3
    assert job_rows.rerun(db, "ben", first.id).job.deployment_id == first.deployment_id
    for owner, ids in (("anna", [second]), ("ben", [first, third])):
        assert {one.id for one in deployment_list.list_page(db, owner).items} == {job.deployment_id for job in ids}


def test_ids_of_other_programs_are_not_used(db: Database) -> None:
    """A database that was restored may have given the ids to other programs."""
    other = create(db, changed())
    content = content_of(deployment(2))
    stored = db.recent_deployments.find(content_of(changed()))
    assert stored is not None
    db.recent_deployments.add(content, stored)
    job = create(db, deployment(2))
    assert job.deployment_id != other.deployment_id
    assert [program.text for program in claim(db)[1].programs] == [BELL, BELL]


def test_the_oldest_deployment_is_forgotten(db: Database) -> None:
    first = create(db, deployment())
    content = content_of(deployment())
    stored = db.recent_deployments.find(content)
    assert stored is not None
    for number in range(1023):
        db.recent_deployments.add(b"%d" % number, stored)
    assert db.recent_deployments.find(content) == stored
    db.recent_deployments.add(b"one more", stored)
    assert db.recent_deployments.find(content) is None
    assert create(db, deployment()).deployment_id != first.deployment_id
