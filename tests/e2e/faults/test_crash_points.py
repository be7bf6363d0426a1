# SPDX-License-Identifier: Apache-2.0
"""A process dies at each step of a job, on each database, and every guarantee holds; `make crash` runs more kills."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path

import pytest

from tests.e2e.faults.campaign import Campaign
from tests.e2e.faults.points import POINTS, KillPoint

SEED = int(os.environ.get("CRASH_SEED", "1"))


def test_every_step_has_a_point_before_and_after_it() -> None:
    assert {(point.step, point.moment) for point in POINTS} == {
        (step, moment) for step in range(1, 13) for moment in ("before", "after")
    }
    assert len({point.name for point in POINTS}) == len(POINTS)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_every_point_names_an_existing_function(point: KillPoint) -> None:
    assert callable(functools.reduce(getattr, point.function.split("."), importlib.import_module(point.module)))


@pytest.mark.timeout(240)
def test_every_guarantee_holds_at_every_point(database_url: str, tmp_path: Path) -> None:
    # Each step on each database, each point on one of them; the next seed swaps the databases.
    name = database_url.partition(":")[0]
    points = list(POINTS[(SEED + (name == "sqlite")) % 2 :: 2])
    assert {point.step for point in points} == set(range(1, 13))
    print(f"CRASH_SEED={SEED} draws the same kills again")
    campaign = Campaign(name, database_url, tmp_path / "campaign", SEED)
    try:
        for point in campaign.draw(points):
            campaign.kill_at(point)
        campaign.finish()
    finally:
        campaign.close()
    assert set(campaign.kills) >= {point.name for point in points}
    assert campaign.jobs >= 4 * len(points)
    assert campaign.returns >= campaign.restarts
