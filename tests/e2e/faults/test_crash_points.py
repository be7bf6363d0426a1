# SPDX-License-Identifier: Apache-2.0
"""A process dies at each step of a job, on each database, and every guarantee holds; `make crash` runs more kills.

`make test` kills each kind of process, and the server around each of its transactions; `make test-long` at each step.
"""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path

import pytest

from tests.e2e.faults.campaign import Campaign
from tests.e2e.faults.points import ENGINE_POINTS, POINTS, KillPoint, named
from tests.rabbitmq import RabbitmqBroker

SEED = int(os.environ.get("CRASH_SEED", "1"))
MAIN_POINTS = (
    "event-not-received",
    "job-committed",
    "claim-committed",
    "worker-forked",
    "circuits-not-run",
    "events-not-committed",
    "end-committed",
)


def test_every_step_has_a_point_before_and_after_it() -> None:
    assert {(point.step, point.moment) for point in POINTS} == {
        (step, moment) for step in range(1, 13) for moment in ("before", "after")
    }
    assert len({point.name for point in (*POINTS, *ENGINE_POINTS)}) == len(POINTS) + len(ENGINE_POINTS)


@pytest.mark.parametrize("point", [*POINTS, *ENGINE_POINTS], ids=lambda point: point.name)
def test_every_point_names_an_existing_function(point: KillPoint) -> None:
    assert callable(functools.reduce(getattr, point.function.split("."), importlib.import_module(point.module)))


def run(campaign: Campaign, points: list[KillPoint]) -> None:
    """Kill at each point, in a random order, and check all guarantees."""
    try:
        for point in campaign.draw(points):
            campaign.kill_at(point)
        campaign.finish()
    finally:
        campaign.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_guarantee_holds_at_the_main_points(database_url: str, tmp_path: Path) -> None:
    points = [named(name) for name in MAIN_POINTS]
    assert {point.process for point in points} == {point.process for point in POINTS}
    campaign = Campaign("postgresql", database_url, tmp_path / "campaign", SEED)
    run(campaign, points)
    assert set(campaign.kills) >= set(MAIN_POINTS)
    assert campaign.returns >= campaign.restarts


@pytest.mark.timeout(240)
def test_every_guarantee_holds_at_every_point(database_url: str, tmp_path: Path) -> None:
    # Each step on each database, each point on one of them; the next seed swaps the databases.
    name = database_url.partition(":")[0]
    points = list(POINTS[(SEED + (name == "sqlite")) % 2 :: 2])
    assert {point.step for point in points} == set(range(1, 13))
    print(f"CRASH_SEED={SEED} draws the same kills again")
    campaign = Campaign(name, database_url, tmp_path / "campaign", SEED)
    run(campaign, points)
    assert set(campaign.kills) >= {point.name for point in points}
    assert campaign.jobs >= 4 * len(points)
    assert campaign.returns >= campaign.restarts


@pytest.mark.timeout(240)
def test_every_guarantee_holds_with_worker_machines(rabbitmq: RabbitmqBroker, tmp_path: Path) -> None:
    # A few points between a server and its machines; `make crash EXECUTOR=celery` runs all points.
    points = list(ENGINE_POINTS[SEED % 5 :: 5])
    assert {point.process for point in points} >= {"machine", "broker"}
    campaign = Campaign("machines", f"sqlite:///{tmp_path / 'q.sqlite3'}", tmp_path / "campaign", SEED, rabbitmq)
    run(campaign, points)
    assert set(campaign.kills) == {point.name for point in points}
