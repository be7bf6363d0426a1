# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: operators list and set shares."""

from __future__ import annotations

from collections import Counter

from qonduit_server.store import catalogue
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
