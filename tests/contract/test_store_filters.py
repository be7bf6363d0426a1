# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: filters and orders of lists agree with a plain evaluation in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qonduit.v1.deployment_pb2 import Deployment
from qonduit_server.errors import InvalidArgument, ResourceExhausted
from qonduit_server.store import catalogue, deployment_list, deployments, list_scan
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.filter_language import parse
from qonduit_server.store.jobs import bulk_changes, job_list, job_rows
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.paging import Page
from tests.contract.filter_evaluation import BASE, FILTERS, holds
from tests.store_fixture import CALLER, claim, deployment, description, submit, succeed


def walk(read: Callable[[str], Page[Any]]) -> list[int]:
    """Return the ids of all pages."""
    found: list[int] = []
    token = ""
    while True:
        page = read(token)
        found += [item.id for item in page.items]
        if not (token := page.next_page_token):
            return found


def jobs_of(db: Database, filter: str = "", order_by: str = "", size: int = 0, caller: str = CALLER) -> list[int]:
    """Return the ids of the jobs of all pages."""
    return walk(lambda token: job_list.list_page(db, caller, size, token, filter, order_by))


class Ticking:
    """A clock that advances by a second at each reading."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def ticking(database_url: str) -> Iterator[Database]:
    database = open_database(database_url, clock=Ticking())
    yield database
    database.close()


def test_jobs_are_filtered(ticking: Database) -> None:
    db = ticking
    catalogue.sync(db, [description(devices=["aer_simulator", "other"])])
    other = catalogue.device_by_name(db, "IBM/other")
    plain, named, elsewhere = submit(db), submit(db, name='a "b" \\ c*'), submit(db, device=other)
    succeed(db, claim(db, capacity=1))
    moment = named.created_at.ToDatetime().isoformat() + "Z"
    expected = {
        "": [elsewhere, named, plain],
        "  ": [elsewhere, named, plain],
        "*": [elsewhere, named, plain],
        'state = "SUCCEEDED"': [plain],
        "state = JOB_STATE_SUCCEEDED": [plain],
        "state != SUCCEEDED": [elsewhere, named],
        "state = SUCCEEDED OR device = IBM/other": [elsewhere, plain],
        "state = QUEUED device = IBM/other": [elsewhere],
        "NOT state = SUCCEEDED AND NOT name:*": [elsewhere],
        "(state = SUCCEEDED)": [plain],
        f"state=QUEUED AND executed_on_id={other.id}": [elsewhere],
        "device = IBM/other": [elsewhere],
        "device = IBM/*": [elsewhere, named, plain],
        "device = *other": [elsewhere],
        "device = unknown/*": [],
        "device != IBM/other": [named, plain],
        'name = "a \\"b\\" \\\\ c\\*"': [named],
        'name = "a*"': [named],
        'name = "*\\*"': [named],
        "name = *b*": [named],
        'name != "x"': [named],
        'NOT name = "x"': [elsewhere, named, plain],
        "name = 'unknown'": [],
        "type = RUNNER": [elsewhere, named, plain],
        f'owner = "{CALLER}"': [elsewhere, named, plain],
        'owner = "bob"': [],
        "mine = true": [elsewhere, named, plain],
        "-mine = true": [],
        f"id = {named.id}": [named],
        f"id > {plain.id} AND id < {elsewhere.id}": [named],
        "shots >= 1000": [elsewhere, named, plain],
        "shots < 1000": [],
        f"deployment_id = {named.deployment_id}": [named],
        f"deployment_id < {elsewhere.deployment_id}": [named, plain],
        f'created_at > "{moment}"': [elsewhere],
        f"created_at >= {moment}": [elsewhere, named],
        f'created_at < "{moment}" AND state = SUCCEEDED': [plain],
        f'created_at <= "{moment}" AND created_at >= "{moment}"': [named],
        f"created_at != {moment}": [elsewhere, plain],
        "finished_at:*": [plain],
        f"started_at > {moment}": [plain],
        f"NOT finished_at > {moment}": [elsewhere, named],
        'state = "QUEUED" AND state = "RUNNING"': [],
        "deployment_id = -9223372036854775808": [],
    }
    for filter, wanted in expected.items():
        for size in (0, 1):
            assert jobs_of(db, filter, size=size) == [job.id for job in wanted], filter
        assert jobs_of(db, filter, caller="bob") == [], filter


def test_jobs_are_filtered_by_label(db: Database) -> None:
    red = submit(db, labels={"colour": "red", "a b.c": "", "*": "*"})
    blue = submit(db, labels={"colour": "blue", "size": "10"})
    submit(db, caller="bob", labels={"colour": "red"})
    plain = submit(db)
    expected = {
        "label.colour = red": [red],
        "label.colour = r*": [red],
        "label.colour != red": [blue],
        "NOT label.colour = red": [plain, blue],
        "label:colour": [blue, red],
        "label.colour:*": [blue, red],
        "label.colour = *": [blue, red],
        "label.colour:red": [red],
        "-label:colour": [plain],
        "label:*": [blue, red],
        "NOT label:*": [plain],
        "label.colour = red OR label.size = 10": [blue, red],
        "label.colour = blue label.size = 10": [blue],
        "label.colour = red label.size = 10": [],
        'label."a b.c" = ""': [red],
        'label:"a b.c"': [red],
        r'label."\*" = "\*"': [red],
        "label.Colour = red": [],
        "label.colour = blue AND created_at > 2020-01-01T00:00:00Z": [blue],
        "label.colour = blue AND created_at < 2020-01-01T00:00:00Z": [],
        f"label.colour = blue AND id = {red.id}": [],
    }
    for filter, wanted in expected.items():
        for size in (0, 1):
            assert jobs_of(db, filter, size=size) == [job.id for job in wanted], filter
    job_rows.cancel(db, CALLER, red.id)
    job_rows.delete(db, CALLER, red.id)
    assert jobs_of(db, "label:colour") == [blue.id]
    rerun = job_rows.rerun(db, CALLER, blue.id).job
    assert jobs_of(db, "label.colour = blue", size=1) == [rerun.id, blue.id]


@pytest.mark.parametrize(
    "filter",
    [
        "nonsense",
        "state",
        "state =",
        'state = "NOPE"',
        "state = RUN*",
        "state = UNSPECIFIED",
        "state < RUNNING",
        "state:",
        'state = "QUEUED" AND',
        'AND state = "QUEUED"',
        "state.x = QUEUED",
        "colour = 3",
        "shots = 3*",
        "mine = 1",
        "deployment_id = seven",
        "deployment_id = 99999999999999999999999",
        "deployment_id = 9223372036854775808",
        "created_at > yesterday",
        "created_at > 2026-01-01T00:00:00",
        "name > bell",
        'name = "a\0b"',
        'name = "\ud800"',
        'name = "open',
        "name = b*l",
        "label = red",
        "label.colour < red",
        "label. = red",
        "label:colour*",
        "'; DROP TABLE jobs; --",
        "\0",
        "=" * 2000,
        "a" * 2000,
        "name = x " * 65,
        "(" * 17 + "name = x" + ")" * 17,
        "x" * 3000,
    ],
)
def test_bad_filters_list_the_supported_fields(db: Database, filter: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        job_list.list_page(db, CALLER, filter=filter)
    assert caught.value.reason == "INVALID_FILTER"
    assert "label.KEY" in caught.value.message
    assert "created_at, started_at" in caught.value.message
    assert len(caught.value.message) < 400


def test_jobs_are_ordered(ticking: Database) -> None:
    db = ticking
    made = [submit(db, name=name).id for name in ("b", None, "a", "c", None, "a")]
    succeed(db, claim(db, capacity=3))
    for job_id in (made[4], made[3]):
        job_rows.cancel(db, CALLER, job_id)
    first, second, third, fourth, fifth, sixth = made
    expected = {
        "": [sixth, fifth, fourth, third, second, first],
        "created_at desc": [sixth, fifth, fourth, third, second, first],
        "created_at": [first, second, third, fourth, fifth, sixth],
        " created_at  asc ": [first, second, third, fourth, fifth, sixth],
        "id": [first, second, third, fourth, fifth, sixth],
        "id desc": [sixth, fifth, fourth, third, second, first],
        "name": [third, sixth, first, fourth, second, fifth],
        "name desc": [fourth, first, sixth, third, fifth, second],
        "finished_at": [first, second, third, fifth, fourth, sixth],
        "finished_at desc": [fourth, fifth, third, second, first, sixth],
    }
    for order_by, wanted in expected.items():
        for size in (0, 1, 2):
            assert jobs_of(db, "", order_by, size) == wanted, order_by
            some = [job_id for job_id in wanted if job_id != third]
            assert jobs_of(db, f"NOT id = {third}", order_by, size) == some, order_by
            assert jobs_of(db, "name:*", order_by, size) == [x for x in wanted if x not in (second, fifth)], order_by
            assert jobs_of(db, 'name = "a"', order_by, size) == [x for x in wanted if x in (third, sixth)], order_by
        assert jobs_of(db, "", order_by, caller="bob") == []
    for bad in ("colour", "name down", "name, id", "desc", "name desc desc", "x" * 500):
        with pytest.raises(InvalidArgument, match="created_at, finished_at, name, id") as caught:
            job_list.list_page(db, CALLER, order_by=bad)
        assert caught.value.violations[0].field == "order_by"
    token = job_list.list_page(db, CALLER, 1, order_by="name").next_page_token
    for other in ("", "name desc", "finished_at"):
        with pytest.raises(InvalidArgument, match="page_token"):
            job_list.list_page(db, CALLER, 1, token, order_by=other)


def test_forged_tokens_are_rejected(db: Database) -> None:
    scope = ("jobs", CALLER, "", "name")
    submit(db, name="x")
    cursor = list_scan.Cursor(scope, 1, "")
    for keys in ((0,), (0, 1, 2), (0, 1, 2, 3), (2, 1, 2), (-1, "x", 1, 2), ("0", "x", 1, 2), (0, "x", "1", 2)):
        with pytest.raises(InvalidArgument, match="page_token"):
            job_list.list_page(db, CALLER, 1, cursor.token(*keys), order_by="name")
    assert job_list.list_page(db, CALLER, 1, cursor.token(0, "a", 1, 2), order_by="name").items


def test_a_page_of_a_filter_that_matches_little_has_bounded_time(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page tests at most one chunk after its time, and the next page continues there."""
    monkeypatch.setattr(list_scan, "_FIRST_CHUNK", 4)
    monkeypatch.setattr(list_scan, "PAGE_SECONDS", -1.0)
    made = [submit(db, shots=7 if place in (3, 28) else 1000).id for place in range(30)]
    rare = [made[28], made[3]]
    sizes: list[int] = []
    token = ""
    found: list[int] = []
    while True:
        page = job_list.list_page(db, CALLER, 3, token, "shots = 7")
        sizes.append(len(page.items))
        found += [job.id for job in page.items]
        if not (token := page.next_page_token):
            break
    assert found == rare
    assert len(sizes) >= 7
    assert 0 in sizes
    # An index serves these: each page is full.
    for filter in ("state = QUEUED", "", "created_at > 2020-01-01T00:00:00Z", "executed_on_id = 1"):
        assert len(job_list.list_page(db, CALLER, 25, "", filter).items) == 25, filter


def test_a_filter_without_an_index_tests_a_bounded_number_of_rows(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_scan, "_FIRST_CHUNK", 4)
    monkeypatch.setattr(list_scan, "PAGE_SECONDS", -1.0)
    made = [submit(db, shots=7 if place in (3, 28) else 1000, name="x", labels={"a": "b"}).id for place in range(30)]
    deployments.create(db, CALLER, deployment(1))
    db.max_tested_rows = 20
    found: list[int] = []

    def jobs_page(token: str, filter: str = "shots = 7", order_by: str = "") -> Page[Any]:
        page = job_list.list_page(db, CALLER, 3, token, filter, order_by)
        found.extend(job.id for job in page.items)
        return page

    with pytest.raises(ResourceExhausted) as caught:
        walk(jobs_page)
    assert found == [made[28]]
    assert caught.value.reason == "LIMIT_EXCEEDED"
    assert caught.value.retry_after is None
    assert caught.value.message == (
        "filter: 23 jobs were tested that do not match, and more are left (max_tested_rows = 20). Add a condition "
        "that an index serves in this order: = on id, parent_job_id, deployment_id, name, label.KEY, device, state, "
        "and ranges of created_at"
    )
    with pytest.raises(ResourceExhausted, match=r"serves in this order: ranges of finished_at"):
        walk(lambda token: jobs_page(token, "shots = 7", "finished_at"))
    with pytest.raises(
        ResourceExhausted, match=r"serves in this order: = on id, parent_job_id, state, and ranges of created_at"
    ):
        walk(lambda token: job_list.list_page(db, Visibility(CALLER, sees_all=True), 3, token, "owner:* shots = 7"))
    for change in (bulk_changes.cancel_matching, bulk_changes.delete_matching):
        monkeypatch.setattr(bulk_changes, "_BATCH", 3)
        token = change(db, CALLER, "shots = 8", validate_only=True, seconds=-1.0).next_page_token
        assert bool(token) == (change is bulk_changes.cancel_matching)

    def cancelled(token: str) -> Page[Any]:
        change = bulk_changes.cancel_matching(db, CALLER, "shots = 8", token, seconds=-1.0)
        return Page([], change.next_page_token)

    with pytest.raises(ResourceExhausted, match="20 jobs were tested"):
        walk(cancelled)
    # Rows that an index finds are not tested, and a range bounds the others.
    for filter in ("", "state = QUEUED", "label.a = b", "device = IBM/aer_simulator", "name = x"):
        assert jobs_of(db, filter, size=1) == made[::-1], filter
    assert jobs_of(db, f"id > {made[20]}", "id desc", size=1) == made[:20:-1]
    db.max_tested_rows = 0
    assert jobs_of(db, "shots = 7") == [made[28], made[3]]


def test_deployments_have_labels(db: Database) -> None:
    labelled = Deployment(name="bell", programs=deployment(1).programs, labels={"team": "a", "x": "y"})
    first = deployments.create(db, CALLER, labelled)
    assert dict(first.labels) == {"team": "a", "x": "y"}
    assert deployments.get(db, CALLER, first.id) == first
    second = deployments.create(db, CALLER, deployment(1))
    deployments.create(db, "bob", labelled)

    def listed(filter: str, order_by: str = "", size: int = 0) -> list[int]:
        return walk(lambda token: deployment_list.list_page(db, CALLER, size, token, filter, order_by))

    expected = {
        "": [second.id, first.id],
        "label.team = a": [first.id],
        "label.team = a label.x = y": [first.id],
        "label:team": [first.id],
        "-label:team": [second.id],
        "name = be*": [first.id],
        f"id < {second.id}": [first.id],
        "deployed_at > 2020-01-01T00:00:00Z": [second.id, first.id],
        f"owner = {CALLER}": [second.id, first.id],
    }
    for filter, wanted in expected.items():
        assert listed(filter) == listed(filter, size=1) == wanted, filter
    assert listed("", "name") == listed("", "name desc", 1) == [first.id, second.id]
    assert listed("", "id") == [first.id, second.id]
    with pytest.raises(InvalidArgument, match="id, name"):
        listed("", "deployed_at")

    change = Deployment(id=first.id, labels={"team": "b"})
    assert dict(deployments.update(db, CALLER, change).labels) == {"team": "b"}
    assert listed("label.team = b") == [first.id]
    assert listed("label:x") == []
    renamed = deployments.update(db, CALLER, Deployment(id=first.id, name="other"))
    assert dict(renamed.labels) == {"team": "b"}
    assert dict(deployments.update(db, CALLER, Deployment(id=first.id), ["labels"]).labels) == {}
    deployments.update(db, CALLER, change)
    deployments.delete(db, CALLER, first.id)
    assert listed("label.team = b") == []
    with pytest.raises(InvalidArgument, match="NUL"):
        deployments.create(db, CALLER, Deployment(programs=labelled.programs, labels={"a": "\0"}))


def test_labels_with_nul_are_rejected(db: Database) -> None:
    with pytest.raises(InvalidArgument, match=r"job\.labels"):
        submit(db, labels={"a\0": ""})


class Seconds:
    """A clock of whole seconds."""

    def __init__(self) -> None:
        self.now = BASE

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Yield a database with a dozen jobs of all kinds."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('filters')}/x.sqlite3"
    else:
        server = request.getfixturevalue("postgresql")
        url = server.url(server.new_database())
    db = open_database(url, clock=Seconds())
    catalogue.sync(db, [description(devices=["aer_simulator", "other"])])
    other = catalogue.device_by_name(db, "IBM/other")
    kinds: list[Mapping[str, Any]] = [
        {"name": "a"},
        {"name": "ab", "labels": {"k": "a"}},
        {"name": "", "labels": {"k": "", "a*": "b"}, "device": other},
        {"labels": {"a*": "*"}, "shots": 3},
        {"name": "é", "shots": 12},
        {"name": "*", "device": other},
    ]
    for kind in kinds:
        submit(db, **kind)
    succeed(db, claim(db, capacity=2))
    for kind in kinds:
        submit(db, **kind)
    claim(db, capacity=1)
    job_rows.cancel(db, CALLER, 8)
    submit(db, caller="bob", labels={"k": "a"})
    yield db
    db.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=FILTERS, order=st.sampled_from(["", "name", "finished_at desc"]))
def test_filters_mean_what_a_plain_evaluation_finds(filled: Database, filter: str, order: str) -> None:
    everything = [job_rows.get(filled, CALLER, job_id) for job_id in jobs_of(filled, "", order)]
    tree = parse(filter)
    expected = [job.id for job in everything if holds(job, tree)]
    assert jobs_of(filled, filter, order) == expected
    assert jobs_of(filled, filter, order, size=2) == expected
