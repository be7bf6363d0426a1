# SPDX-License-Identifier: Apache-2.0
"""Projects in the store, on both databases: members, roles, and the lists of several owners."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit.v1.usage_service_pb2 import UsageGrouping
from qonduit_server.errors import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied, QuotaExceeded
from qonduit_server.store import deployment_list, deployments, projects
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import bulk_changes, job_list, job_rows
from qonduit_server.store.memberships import MembershipCache
from qonduit_server.store.ownership import Visibility, owner_of
from qonduit_server.store.users import quota_rows, usage_rows
from tests.contract.test_store_filters import walk
from tests.postgresql import PostgresqlServer
from tests.store_fixture import claim, deployment, known_device, submit, succeed

LAB = "projects/lab"


def make_lab(db: Database, **members: int) -> None:
    projects.create(db, "anna", Project(name="lab", description="Pulses"))
    for user, role in members.items():
        projects.set_member(db, "anna", "lab", ProjectMember(user=user, role=role))  # type: ignore[arg-type]


def submit_to_lab(db: Database, caller: str, **options: Any) -> int:
    """Queue a job of the project."""
    return submit(db, caller=caller, project="lab", **options).id


def test_a_project_is_seen_by_its_members_alone(db: Database) -> None:
    make_lab(db, ben=projects.VIEWER)
    assert projects.get(db, "ben", "lab").role == projects.VIEWER
    assert [project.name for project in projects.list_page(db, "ben").items] == ["lab"]
    assert projects.list_page(db, "carl").items == []
    with pytest.raises(NotFound):
        projects.get(db, "carl", "lab")
    assert projects.get(db, "olga", "lab", sees_all=True).created_by == "anna"
    with pytest.raises(AlreadyExists, match="choose another"):
        projects.create(db, "carl", Project(name="lab"))


def test_a_weight_stays_until_it_is_set_again(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    ben = ProjectMember(user="ben", role=projects.MEMBER, weight=2.5)
    assert projects.set_member(db, "anna", "lab", ben).weight == 2.5
    ben.ClearField("weight")
    ben.role = projects.OWNER
    assert projects.set_member(db, "anna", "lab", ben).weight == 2.5
    assert {each.user: each.weight for each in projects.list_members(db, "anna", "lab").items} == {
        "anna": 1,
        "ben": 2.5,
    }


def test_only_owners_change_members_and_the_last_owner_stays(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    with pytest.raises(PermissionDenied, match="ben is member"):
        projects.remove_member(db, "ben", "lab", "anna")
    with pytest.raises(FailedPrecondition, match="last owner"):
        projects.remove_member(db, "anna", "lab", "anna")
    with pytest.raises(FailedPrecondition, match="last owner"):
        projects.set_member(db, "anna", "lab", ProjectMember(user="anna", role=projects.VIEWER))
    projects.set_member(db, "anna", "lab", ProjectMember(user="ben", role=projects.OWNER))
    projects.remove_member(db, "anna", "lab", "anna")
    assert [member.user for member in projects.list_members(db, "ben", "lab").items] == ["ben"]


def test_a_project_with_objects_is_not_deleted(db: Database) -> None:
    make_lab(db)
    submit_to_lab(db, "anna")
    with pytest.raises(FailedPrecondition, match="1 job and 1 deployment"):
        projects.delete(db, "anna", "lab")
    with pytest.raises(NotFound, match="project gone"):
        submit(db, caller="anna", project="gone")


def test_a_job_of_a_project_keeps_who_executed_it(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    job = job_rows.get(db, frozenset({LAB}), submit_to_lab(db, "ben"))
    assert (job.project, job.executed_by, owner_of(job)) == ("lab", "ben", LAB)
    with pytest.raises(NotFound):
        job_rows.get(db, "ben", job.id)
    again = job_rows.rerun(db, "anna", job.id, scope=frozenset({LAB})).job
    assert (again.project, again.executed_by) == ("lab", "anna")


def test_a_request_id_is_unique_per_user_also_in_a_project(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    request = "0b0e1c6e-5d7e-4a0c-9f50-0d6d5a8f7b10"
    first = submit_to_lab(db, "anna", request_id=request)
    assert submit_to_lab(db, "ben", request_id=request) != first
    assert submit_to_lab(db, "anna", request_id=request) == first


def test_two_servers_create_one_job_for_one_request_id(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    """The user repeats a request id for a job of its own, of a project, and of another one, at the same time."""
    name = postgresql.new_database(postgresql_template)
    servers = [open_database(postgresql.url(name)) for _ in range(3)]
    known_device(servers[0])
    for project in ("lab", "group"):
        projects.create(servers[0], "anna", Project(name=project))
    start = threading.Barrier(len(servers))

    def create(place: int, kind: str, request: str) -> object:
        start.wait(60)
        project = ("", "lab", "group")[place]
        try:
            if kind == "job":
                return submit(servers[place], caller="anna", project=project, request_id=request, shots=place + 1).id
            return deployments.create(servers[place], "anna", deployment(name=f"{place}", project=project), request).id
        except AlreadyExists:
            return None

    with ThreadPoolExecutor(len(servers)) as pool:
        for kind in ("job", "deployment") * 20:
            request = str(uuid.uuid4())
            made = [pool.submit(create, place, kind, request) for place in range(len(servers))]
            results = [each.result(60) for each in made]
            # `submit` has one hash for all requests: the others are answered with the first job.
            assert len({found for found in results if found is not None}) == 1, results
    for db in servers:
        db.close()
    postgresql.drop_database(name)


@pytest.mark.parametrize("filter", ["", "shots = 1000", 'state = "QUEUED"', "shots > 1 AND shots < 2000"])
@pytest.mark.parametrize("order_by", ["", "id", "name", "finished_at desc"])
def test_a_list_of_several_owners_is_merged_in_order(db: Database, filter: str, order_by: str) -> None:
    make_lab(db, ben=projects.MEMBER)
    known_device(db)
    made = [
        submit_to_lab(db, "ben", name=f"n{place % 4}") if place % 3 else submit(db, caller="anna", name="n2").id
        for place in range(14)
    ]
    submit(db, caller="ben")

    def pages(size: int) -> list[int]:
        visible = Visibility("anna", frozenset({LAB}))
        return walk(lambda token: job_list.list_page(db, visible, size, token, filter, order_by))

    whole = pages(1000)
    assert sorted(whole) == sorted(made)
    assert pages(3) == whole
    if order_by == "":
        assert whole == sorted(made, reverse=True)


def test_lists_are_filtered_by_owner_project_and_user(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    own, shared = submit(db, caller="anna").id, submit_to_lab(db, "ben")

    def found(filter: str) -> list[int]:
        return [job.id for job in job_list.list_page(db, Visibility("anna", frozenset({LAB})), filter=filter).items]

    assert found("") == [shared, own]
    assert found('owner = "anna"') == found("mine = true") == [own]
    assert found('project = "lab"') == found('executed_by = "ben"') == found("project:*") == [shared]
    assert found("NOT project:*") == found("mine = true AND NOT project:*") == [own]
    assert found('project = "other"') == found('owner = "ben"') == []


def test_operators_list_the_jobs_of_all_projects_by_a_filter(db: Database) -> None:
    make_lab(db)
    own, shared = submit(db, caller="carl").id, submit_to_lab(db, "anna")

    def found(filter: str, *, sees_all: bool = True) -> list[int]:
        return [job.id for job in job_list.list_page(db, Visibility("olga", sees_all=sees_all), filter=filter).items]

    assert found("") == found('project = "lab"', sees_all=False) == []
    assert found('project = "lab"') == found('owner = "projects/lab"') == found("project:*") == [shared]
    assert found("owner:*") == [shared, own]
    assert found('owner = "carl"') == [own]


def test_the_quota_and_the_usage_of_a_project_are_its_own(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    quota_rows.set_quota(db, LAB, QuotaValues(queued_jobs=1), ["queued_jobs"])
    submit_to_lab(db, "ben")
    submit(db, caller="ben")
    with pytest.raises(QuotaExceeded):
        submit_to_lab(db, "anna")
    tasks = claim(db, capacity=2)
    assert len(tasks) == 2
    for task in tasks:
        succeed(db, [task])
    rows = usage_rows.list_page(db, LAB, group_by=[UsageGrouping.USAGE_GROUPING_USER]).items
    assert [(row.executed_by, row.jobs) for row in rows] == [("ben", 1)]


def test_shots_and_bytes_of_jobs_count_for_their_project_and_not_for_the_user(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    quota_rows.set_quota(db, LAB, QuotaValues(shots_per_day=100), ["shots_per_day"])
    job = submit_to_lab(db, "ben", shots=60, inputs={"text": "x" * 6000})
    with pytest.raises(QuotaExceeded, match="60 of 100"):
        submit_to_lab(db, "anna", shots=60)
    used, own = quota_rows.get(db, LAB).used, quota_rows.get(db, "ben").used
    assert used.shots_per_day == 60
    assert used.stored_bytes > 6000
    assert (own.shots_per_day, own.stored_bytes) == (0, 0)
    job_rows.cancel(db, LAB, job)
    job_rows.delete(db, LAB, job)
    (deployment,) = deployment_list.list_page(db, LAB).items
    deployments.delete(db, LAB, deployment.id)
    assert quota_rows.get(db, LAB).used.stored_bytes == 0


def test_a_bulk_cancel_reaches_the_projects_of_the_caller(db: Database) -> None:
    make_lab(db, ben=projects.MEMBER)
    shared = submit_to_lab(db, "anna")
    assert bulk_changes.cancel_matching(db, "ben", "*").job_ids == []
    assert bulk_changes.cancel_matching(db, Visibility("ben", frozenset({LAB})), "*").job_ids == [shared]


def test_a_change_is_seen_at_once_on_this_server_and_soon_on_others(db: Database) -> None:
    now = [0.0]
    here, other = MembershipCache(db, lambda: now[0]), MembershipCache(db, lambda: now[0])
    make_lab(db, ben=projects.VIEWER)
    for cache in (here, other):
        assert cache.get("ben").readable == {"ben", LAB}
        assert cache.get("ben").changeable == {"ben"}
    projects.remove_member(db, "ben", "lab", "ben")
    here.changed()
    assert here.get("ben").readable == {"ben"}
    now[0] = 1.0
    assert other.get("ben").readable == {"ben"}
