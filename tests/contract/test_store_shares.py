# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: operators list and set shares."""

from __future__ import annotations

from collections import Counter

from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit_server.store import catalogue, projects
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import shares
from tests.contract.test_store_fair_share import callers, end, submit_many
from tests.store_fixture import claim, description, known_device, submit


def test_shares_show_who_waits_and_who_has_used_more(db: Database) -> None:
    submit(db, caller="anna")
    end(db, claim(db), 40.0)
    submit(db, caller="ben")
    end(db, claim(db), 1.0)
    for caller in ("anna", "anna", "ben", "carl"):
        submit(db, caller=caller)
    claim(db, capacity=1)
    found = {share.owner: share for share in shares.list_page(db).items}
    assert sum(share.running_jobs for share in found.values()) == 1
    assert sum(share.queued_jobs for share in found.values()) == 3
    assert (found["anna"].queued_jobs, found["anna"].running_jobs) == (2, 0)
    assert found["anna"].lead_seconds > 30  # why she waits
    assert found["carl"].lead_seconds < 1
    assert found["anna"].mean_seconds == 40.0
    assert not found["carl"].HasField("mean_seconds")
    assert {share.provider for share in found.values()} == {"IBM"}


def test_a_weight_gives_more_of_the_workers(db: Database) -> None:
    provider = catalogue.provider(db, known_device(db).provider_id)
    share = shares.set_weight(db, provider, "anna", 3.0)
    assert (share.owner, share.weight, share.queued_jobs) == ("anna", 3.0, 0)
    for caller in ("anna", "ben"):
        submit_many(db, caller, 100)
    found: Counter[str] = Counter()
    for _ in range(40):
        tasks = claim(db, capacity=1)
        found.update(callers(db, tasks))
        end(db, tasks, 1.0)
    assert 27 <= found["anna"] <= 33, found
    assert {each.owner: each.weight for each in shares.list_page(db).items} == {"anna": 3.0, "ben": 1.0}


def test_the_members_of_a_project_follow_it_with_their_shares_of_what_it_gets(db: Database) -> None:
    projects.create(db, "anna", Project(name="lab"))
    projects.set_member(db, "anna", "lab", ProjectMember(user="ben", role=projects.MEMBER, weight=2))
    submit(db, caller="anna", project="lab")
    end(db, claim(db), 40.0)
    for caller in ("anna", "ben", "ben", "ben"):
        submit(db, caller=caller, project="lab")
    submit(db, caller="zoe")
    claim(db, capacity=1)  # of zoe
    claim(db, capacity=1)
    found = shares.list_page(db).items
    assert [(each.owner, each.member) for each in found] == [
        ("projects/lab", ""),
        ("projects/lab", "anna"),
        ("projects/lab", "ben"),
        ("zoe", ""),
    ]
    lab, anna, ben, _ = found
    assert (lab.queued_jobs, anna.queued_jobs, ben.queued_jobs) == (3, 1, 2)
    assert (lab.running_jobs, anna.running_jobs, ben.running_jobs) == (1, 0, 1)
    assert (lab.weight, anna.weight, ben.weight) == (1.0, 1.0, 2.0)
    assert anna.mean_seconds == 40.0
    assert anna.lead_seconds > 30 > ben.lead_seconds


def test_pages_may_begin_among_the_members_of_a_project(db: Database) -> None:
    projects.create(db, "m0", Project(name="lab"))
    for number in range(1, 5):
        projects.set_member(db, "m0", "lab", ProjectMember(user=f"m{number}", role=projects.MEMBER))
    submit(db, caller="a")
    for number in range(5):
        submit(db, caller=f"m{number}", project="lab")
    submit(db, caller="z")
    expected = [("a", ""), ("projects/lab", ""), *(("projects/lab", f"m{number}") for number in range(5)), ("z", "")]
    for size in (1, 2, 3, 50):
        found, token = [], ""
        while True:
            page = shares.list_page(db, 0, size, token)
            assert len(page.items) <= size
            found += [(share.owner, share.member) for share in page.items]
            if not (token := page.next_page_token):
                break
        assert found == expected


def test_pages_contain_each_owner_once(db: Database) -> None:
    catalogue.sync(db, [description(), description("AWS", ("sv",))])
    aws = catalogue.device_by_name(db, "AWS/sv")
    names = [f"user{place:02}" for place in range(7)]
    for name in names:
        submit(db, caller=name)
    for name in names[:3]:
        shares.set_weight(db, catalogue.provider(db, aws.provider_id), name, 2.0)
    found, token = [], ""
    while True:
        page = shares.list_page(db, 0, 2, token)
        found += [(share.provider, share.owner) for share in page.items]
        assert len(page.items) <= 2
        if not (token := page.next_page_token):
            break
    assert found == [("IBM", name) for name in names] + [("AWS", name) for name in names[:3]]
    assert [share.owner for share in shares.list_page(db, aws.provider_id).items] == names[:3]
