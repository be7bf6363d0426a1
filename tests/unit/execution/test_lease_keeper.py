# SPDX-License-Identifier: Apache-2.0
"""Of several servers, the one that has set a time of a queued job acts at that time, and others a moment later."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from qonduit_server.execution.dispatcher.lease_keeper import LeaseKeeper
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.store.database import open_database
from qonduit_server.store.jobs import queue_times
from tests.sqlite_template import new_sqlite


def test_a_server_acts_in_time_only_for_times_that_it_may_have_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused: Any = None
    db = open_database(new_sqlite(tmp_path / "x.sqlite3"))
    keeper = LeaseKeeper(
        *(db, unused, RunningJobs("server")),
        lease=timedelta(seconds=30),
        max_attempts=1,
        on_lost_task=lambda key: None,
        clock=lambda: 100.0,
    )
    next_time = 5.0
    monkeypatch.setattr(queue_times, "apply_due", lambda db: next_time)
    assert keeper._apply_due() == 105.25
    keeper.times_changed()
    assert keeper._apply_due() == 105.0
    next_time = 0.0
    assert keeper._apply_due() == 100.0
    next_time = 2.0
    assert keeper._apply_due() == 102.0
    next_time = math.inf  # no queued job has a time
    assert keeper._apply_due() == math.inf
    next_time = 2.0
    assert keeper._apply_due() == 102.25
    next_time = 0.0  # the server that set it is lost
    assert keeper._apply_due() == 100.0
    db.close()
