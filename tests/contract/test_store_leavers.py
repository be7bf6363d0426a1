# SPDX-License-Identifier: Apache-2.0
"""The contract of the data of a user who leaves, on every database: adopt, export and delete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_client.cli.as_json import as_line
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import InvalidArgument, NotFound, ResourceExhausted, StartError
from qonduit_server.lifecycle import CANCELLED, QUEUED, RUNNING
from qonduit_server.store import audit_list, credentials, deployment_list, deployments, projects
from qonduit_server.store.admin import adoption, membership_adoption, user_data, user_export
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows, queue
from qonduit_server.store.results import result_rows
from qonduit_server.store.schema import metadata
from qonduit_server.store.usage_tables import owner_totals
from qonduit_server.store.users import quota_rows
from tests.store_fixture import BELL, claim, finished, history, known_device, result, submit, succeed, succeeded

LEAVER = "leaver-anna"
PLANTED = "planted_program_text"
COMMAND = Act("root", "qonduit test", "command")


def stored(db: Database, caller: str, name: str) -> Deployment:
    program = QuantumProgram(
        quantum_circuit=f"{BELL}// {name}", assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
    )
    return deployments.create(db, caller, Deployment(name=name, programs=[program], labels={"of": name}))


def work_of(db: Database, caller: str, planted: str) -> list[int]:
    """Create a deployment, an ended, a running and a waiting job of a caller, with a text in every place for text."""
    deployment = stored(db, caller, planted)
    deployment.programs[0].quantum_circuit += "//"
    deployments.update(db, caller, deployment)
    inputs = {"x": planted * 500}
    more = {"inputs": inputs, "client_data": planted.encode(), "program_options": [{"shots": 7}]}
    jobs = [submit(db, caller=caller, name=planted, labels={"of": planted}, **more) for _ in range(3)]
    (first,) = claim(db, capacity=1)
    succeed(db, [first])
    claim(db, capacity=1)
    return [job.id for job in jobs]


def states(db: Database, owner: str) -> list[int]:
    return sorted(job.state for job in job_list.list_page(db, owner).items)


def texts(db: Database) -> Iterator[tuple[str, str]]:
    """Yield every value of every table as text, with the name of the table."""
    with db.read() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(text(f"SELECT * FROM {table.name}")):
                for value in row:
                    data = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    yield table.name, data.decode("latin-1")


def test_an_adoption_hands_over_jobs_in_every_state_with_deployments_and_labels(db: Database) -> None:
    jobs = work_of(db, LEAVER, "text")
    with acting(COMMAND):
        assert adoption.adopt(db, LEAVER, "ben").handed == {
            "jobs": 3,
            "deployments": 4,
            "credentials": 0,
            "memberships": 0,
        }
    assert states(db, LEAVER) == []
    assert len(states(db, "ben")) == 3
    assert {QUEUED, RUNNING} <= set(states(db, "ben"))
    assert {job.id for job in job_list.list_page(db, "ben", filter="label.of = text").items} == set(jobs)
    (named,) = deployment_list.list_page(db, "ben", filter="label.of = text").items
    assert (named.deployed_by, named.name) == ("ben", "text")
    with pytest.raises(NotFound):
        job_rows.get(db, LEAVER, jobs[0])
    # What the former owner used stays recorded as it was.
    assert {table for table, value in texts(db) if value == LEAVER} <= {"lanes", "usage"}
    with db.read() as connection:
        stored_bytes = connection.execute(select(owner_totals.c.owner, owner_totals.c.stored_bytes)).all()
    assert [(owner, size > 0) for owner, size in stored_bytes] == [("ben", True)]
    objects = {entry.object for entry in audit_list.list_page(db, 100, filter='method = "qonduit test"').items}
    assert {f"jobs/{number}" for number in jobs} <= objects
    assert f"deployments/{named.id}" in objects


def test_adopted_jobs_go_on(db: Database) -> None:
    work_of(db, LEAVER, "text")
    running = next(job for job in job_list.list_page(db, LEAVER).items if job.state == RUNNING)
    adoption.adopt(db, LEAVER, "ben")
    task = next(task for task in claim(db) if task.job_id != running.id)
    assert not succeed(db, [task])
    assert job_rows.cancel(db, "ben", running.id).id == running.id
    assert len(result_rows.list_page(db, "ben", task.job_id).items) == 1
    assert job_rows.rerun(db, "ben", task.job_id).job.executed_by == "ben"


def test_an_interrupted_adoption_continues(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        submit(db, caller=LEAVER)
    monkeypatch.setattr(adoption, "BATCH", 2)
    # The first transaction of jobs, then the command dies.
    kind = adoption._KINDS[1]
    db.write(adoption._ADOPT, adoption._Batch(kind, LEAVER, "ben", adoption._some(db, kind, LEAVER, ()), db.sealer))
    assert adoption.owned(db, LEAVER) == {"deployments": 5, "jobs": 3, "credentials": 0, "memberships": 0}
    assert adoption.adopt(db, LEAVER, "ben").handed == {"deployments": 5, "jobs": 3, "credentials": 0, "memberships": 0}
    assert adoption.owned(db, "ben") == {"deployments": 5, "jobs": 5, "credentials": 0, "memberships": 0}


def test_an_adopted_job_loses_a_request_id_that_the_new_owner_has_used(db: Database) -> None:
    theirs = submit(db, caller=LEAVER, request_id="same")
    other = submit(db, caller=LEAVER, request_id="other")
    own = submit(db, caller="ben", request_id="same")
    adoption.adopt(db, LEAVER, "ben")
    assert submit(db, caller="ben", request_id="same").id == own.id
    assert submit(db, caller="ben", request_id="other").id == other.id
    assert job_rows.get(db, "ben", theirs.id).id == theirs.id


def test_an_adoption_by_the_same_name_is_refused(db: Database) -> None:
    for name in ("", LEAVER):
        with pytest.raises(InvalidArgument, match="the new owner must be another one"):
            adoption.adopt(db, LEAVER, name)


def test_an_adoption_hands_over_memberships_with_the_higher_role(db: Database) -> None:
    known_device(db)
    member = [
        ProjectMember(user=user, role=role) for user, role in ((LEAVER, projects.VIEWER), ("ben", projects.MEMBER))
    ]
    projects.create(db, LEAVER, Project(name="own"))
    for name in ("a-both", "b-other"):
        projects.create(db, "carl", Project(name=name))
        projects.set_member(db, "carl", name, member[0])
    projects.set_member(db, "carl", "a-both", member[1])
    in_project = submit(db, caller=LEAVER, project="own")
    with acting(COMMAND):
        assert adoption.adopt(db, LEAVER, "ben").handed["memberships"] == 3
    assert projects.roles_of(db, LEAVER) == {}
    assert projects.roles_of(db, "ben") == {
        "a-both": projects.MEMBER,
        "b-other": projects.VIEWER,
        "own": projects.OWNER,
    }
    objects = {entry.object for entry in audit_list.list_page(db, 100, filter='method = "qonduit test"').items}
    assert objects >= {"projects/a-both", "projects/b-other", "projects/own"}
    assert job_rows.get(db, "projects/own", in_project.id).executed_by == LEAVER


def test_an_adoption_leaves_memberships_that_exceed_the_limit_of_the_new_owner(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership_adoption, "MAX_PROJECTS", 2)
    for user, name in ((LEAVER, "a"), (LEAVER, "b"), ("ben", "c")):
        projects.create(db, user, Project(name=name))
    submit(db, caller=LEAVER)
    with pytest.raises(ResourceExhausted, match="ben is in 32 projects, the maximum"):
        adoption.adopt(db, LEAVER, "ben")
    assert set(projects.roles_of(db, LEAVER)) == {"a", "b"}
    assert adoption.owned(db, LEAVER)["jobs"] == 0
    projects.delete(db, "ben", "c")
    assert adoption.adopt(db, LEAVER, "ben").handed["memberships"] == 2


@pytest.mark.parametrize("owners", [(LEAVER, "projects/lab"), ("projects/lab", "ben")])
def test_an_adoption_of_the_objects_of_a_project_is_refused(db: Database, owners: tuple[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="the objects of a project stay with it, got 'projects/lab'"):
        adoption.adopt(db, *owners)


def test_an_export_contains_all_data_of_a_user_and_none_of_others(db: Database, tmp_path: Path) -> None:
    jobs = work_of(db, LEAVER, PLANTED)
    submit(db, caller="ben", name="of_ben")
    counts = user_export.export(db, LEAVER, tmp_path / "out", as_line)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    lines = {
        name: [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        for name in counts
    }
    assert {name: len(found) for name, found in lines.items()} == counts
    assert [job["id"] for job in lines["jobs"]] == jobs
    assert lines["jobs"][0]["inputs"] == {"x": PLANTED * 500}
    assert lines["jobs"][0]["client_data"]
    assert len(lines["jobs"][0]["program_options"]) == 1
    assert {event["job_id"] for event in lines["events"]} == set(jobs)
    assert len(lines["events"]) == sum(len(history(db, job)) for job in jobs)
    assert len(lines["results"]) == 1
    (named,) = (one for one in lines["deployments"] if one.get("name"))
    # The replaced program too, which jobs may have run.
    assert len(named["programs"]) == 2
    assert named["labels"] == {"of": PLANTED}
    assert all(PLANTED in program["quantum_circuit"] for program in named["programs"])
    assert "of_ben" not in str(lines)
    with pytest.raises(StartError, match="the folder must not exist"):
        user_export.export(db, LEAVER, tmp_path / "out", as_line)


#: The files of an export that contain what a table has of an owner.
EXPORTED = {
    **dict.fromkeys(("jobs", "job_labels", "options", "job_options"), "jobs"),
    **{name: name for name in ("events", "results", "deployments", "credentials", "usage", "quotas", "audit_entries")},
    "buffers": "results",
    "programs": "deployments",
    "deployment_labels": "deployments",
    "lanes": "shares",
    "owner_totals": "quotas",
    "project_members": "projects",
    "projects": "projects",
}


def test_an_export_has_a_line_of_everything_that_the_database_has_of_a_user(db: Database, tmp_path: Path) -> None:
    db.sealer = Sealer(KeyRing(keys=[Key("one", b"k" * 32)]))  # type: ignore[misc]
    with acting(Act(LEAVER, "JobService/CreateJob")):
        jobs = work_of(db, LEAVER, PLANTED)
    submit(db, caller="ben", name="of_ben")
    provider = known_device(db).provider_id
    credentials.create(db, LEAVER, "lab", provider, "the secret of a vendor")
    credentials.create(db, "ben", "of_ben", provider, "another secret")
    projects.create(db, LEAVER, Project(name="lab", description=PLANTED))
    quota_rows.set_quota(db, LEAVER, QuotaValues(queued_jobs=7))
    (large,) = [task for task in claim(db) if task.job_id == jobs[2]]
    outcome = result()
    outcome.buffer.size_bytes = 1_000_000
    event = succeeded(large, 0, outcome)
    event.program_succeeded.buffer = bytes(range(250)) * 4000
    assert not queue.record(db, "me", [event, finished(large)])
    with acting(Act("olga", "JobService/CancelJob", object=f"jobs/{jobs[1]}")):
        job_rows.cancel(db, None, jobs[1])
    counts = user_export.export(db, LEAVER, tmp_path / "out", as_line)
    tables = {table for table, value in texts(db) if LEAVER in value or PLANTED in value}
    assert tables >= set(EXPORTED) - {"results", "buffers", "job_options", "options", "owner_totals", "projects"}
    # A new table with data of users needs a file of the export.
    assert tables <= set(EXPORTED)
    lines = {name: (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines() for name in counts}
    assert {name for name, found in lines.items() if found} == set(EXPORTED.values()) == set(user_export.FILES)
    buffer = tmp_path / "out" / "buffers" / str(event.program_succeeded.result.id)
    assert buffer.read_bytes() == bytes(range(250)) * 4000
    objects = [(each["principal"], each["object"]) for each in map(json.loads, lines["audit_entries"])]
    assert (LEAVER, f"jobs/{jobs[0]}") in objects
    assert ("olga", f"jobs/{jobs[1]}") in objects
    (usage,) = map(json.loads, lines["usage"])
    assert (usage["owner"], usage["jobs"]) == (LEAVER, 2)
    (quota,) = map(json.loads, lines["quotas"])
    assert quota["limits"]["queued_jobs"] == 7
    (credential,) = map(json.loads, lines["credentials"])
    assert credential["name"] == "lab"
    assert "of_ben" not in str(lines)
    assert "secret" not in str(lines)


def test_a_deletion_cancels_waiting_jobs_and_waits_for_running_ones(db: Database) -> None:
    work_of(db, LEAVER, PLANTED)
    assert user_data.delete(db, LEAVER) == 1
    assert len(states(db, LEAVER)) == 1
    (job,) = job_list.list_page(db, LEAVER).items
    assert job.state not in (QUEUED, CANCELLED)


def test_nothing_of_a_deleted_user_remains_in_any_table(db: Database) -> None:
    known_device(db)
    projects.create(db, "ben", Project(name="lab"))
    projects.set_member(db, "ben", "lab", ProjectMember(user=LEAVER, role=projects.MEMBER))
    with acting(Act(LEAVER, "JobService/CreateJob")):
        submit(db, caller=LEAVER)
    for caller, planted in ((LEAVER, PLANTED), ("ben", "text_of_ben")):
        stored(db, caller, planted)
        inputs = {"x": planted * 500}
        submit(db, caller=caller, name=planted, labels={"of": planted}, inputs=inputs)
        succeed(db, claim(db))
        submit(db, caller=caller, name=planted)  # waiting
    found = {table for table, value in texts(db) if LEAVER in value or PLANTED in value}
    # The search finds what it looks for, in every table that can hold it.
    assert found >= {
        "jobs",
        "events",
        "deployments",
        "programs",
        "job_labels",
        "options",
        "audit_entries",
        "project_members",
    }
    assert user_data.delete(db, LEAVER) == 0
    assert {table for table, value in texts(db) if LEAVER in value} == {"audit_entries"}
    assert not [table for table, value in texts(db) if PLANTED in value]
    assert len(states(db, "ben")) == 2
    assert [table for table, value in texts(db) if "text_of_ben" in value]
    assert user_data.remains(db, LEAVER) == {
        "jobs": 0,
        "deployments": 0,
        "credentials": 0,
        "memberships": 0,
        "audit_entries": 1,
    }


def test_the_files_of_sqlite_contain_nothing_of_a_deleted_user_after_a_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    db = open_database(f"sqlite:///{path}")

    def occurrences(planted: str) -> int:
        return sum(file.read_bytes().count(planted.encode()) for file in tmp_path.iterdir())

    for caller, planted in ((LEAVER, PLANTED), ("ben", "text_of_ben")):
        stored(db, caller, planted)
        submit(db, caller=caller, name=planted)
        succeed(db, claim(db))
    assert occurrences(LEAVER)
    assert user_data.delete(db, LEAVER) == 0
    # Deleted rows stay in free pages and in the write-ahead log: this is what the rewrite is for.
    assert occurrences(PLANTED)
    user_data.rewrite(db)
    assert occurrences(LEAVER) == occurrences(PLANTED) == 0
    assert occurrences("text_of_ben")
    assert submit(db, caller="ben").id
    db.close()
    assert occurrences(LEAVER) == occurrences(PLANTED) == 0


def test_a_rewrite_keeps_all_data(db: Database) -> None:
    jobs = work_of(db, LEAVER, PLANTED)
    before = sorted(texts(db))
    user_data.rewrite(db)
    assert sorted(texts(db)) == before
    assert job_rows.get(db, LEAVER, jobs[0]).name == PLANTED
