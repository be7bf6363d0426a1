# SPDX-License-Identifier: Apache-2.0
"""Estimates of the starts and ends of waiting jobs: unknown at first, then right about as often as they state."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows, queue, queue_positions
from qonduit_server.store.jobs.queue_sampling import MOST_OBSERVED, QueueSampler
from qonduit_server.store.wait_history import LEAST_WAITS, Ahead, WaitHistory
from tests.contract.queue_simulation import Arrival, Estimated, bursts, mixed_load, observe, simulated_queue
from tests.store_fixture import CALLER, claim, submit, succeed


@pytest.mark.parametrize("seed", [1, 2])
def test_estimates_are_right_about_as_often_as_they_state(tmp_path: Path, seed: int) -> None:
    """Half of all jobs start and end within the p50, nine of ten within the p90.

    The load is a random mixture of steady and bursty callers, some of which arrive after the estimate. The bounds are
    those of two hundred estimates that depend on each other.
    """
    with simulated_queue(tmp_path, workers=4) as simulation:
        found = observe(simulation, mixed_load(random.Random(seed), 200.0), random.Random(seed))
    for what in ("start", "end"):
        p50, p90 = Estimated.coverage(found, what)
        assert 0.3 < p50 < 0.7, (what, p50)
        assert 0.8 < p90 < 0.99, (what, p90)
    # A p90 that is far beyond the p50 would be right, and of no use.
    assert sorted(each.start.p90 / each.start.p50 for each in found)[len(found) // 2] < 5
    assert len(found) > 100


def test_estimates_are_unknown_until_some_jobs_were_observed(tmp_path: Path) -> None:
    known: list[tuple[float, bool]] = []
    with simulated_queue(tmp_path, workers=1) as simulation:
        sampler = QueueSampler(simulation.db, random.Random(1))

        def tick(waiting: list[int]) -> None:
            sampler.step()
            if waiting:
                place = queue_positions.of_job(simulation.db, waiting[-1])
                assert place is not None
                known.append((simulation.now, place.HasField("estimated_start_seconds_p90")))

        simulation.run([Arrival(0.0, "a", 1.0) for _ in range(100)], tick=tick)
    first = next(at for at, is_known in known if is_known)
    assert LEAST_WAITS - 1 < first < 60


def test_the_wait_of_regular_jobs_is_known_exactly(tmp_path: Path) -> None:
    """One caller, one worker, equal jobs: the estimate is the number of jobs before the job."""
    with simulated_queue(tmp_path, workers=1) as simulation:
        found = observe(simulation, [Arrival(0.0, "a", 2.0) for _ in range(100)], random.Random(1))
    late = [each for each in found if each.waited > 10]
    assert len(late) > 20
    for each in late:
        assert each.start.p50 == pytest.approx(each.waited, rel=0.25)
        assert each.end.p50 == pytest.approx(each.waited + 2.0, rel=0.25)


def test_jobs_that_were_cancelled_requeued_or_deleted_are_no_waits(db: Database) -> None:
    jobs = [submit(db).id for _ in range(40)]
    sampler = QueueSampler(db, random.Random(1))
    while len(sampler) < len(jobs):
        assert sampler.step()
    for job_id in jobs[:20]:
        job_rows.cancel(db, CALLER, job_id)
    for job_id in jobs[:10]:
        job_rows.delete(db, CALLER, job_id)
    tasks = claim(db)
    queue.release(db, "me", dict.fromkeys((task.job_id, task.attempt) for task in tasks), "lost")
    assert len(claim(db)) == 20
    sampler.step()
    assert len(sampler) == 0
    place = queue_positions.of_job(db, submit(db).id)
    assert place is not None
    assert not place.HasField("estimated_start_seconds_p50")


def test_the_number_of_observed_jobs_is_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qonduit_server.store.jobs.queue_sampling.MOST_OBSERVED", 5)
    for _ in range(20):
        submit(db)
    sampler = QueueSampler(db, random.Random(1))
    for _ in range(50):
        sampler.step()
    assert len(sampler) == 5
    assert MOST_OBSERVED > 5
    succeed(db, claim(db))
    sampler.step()
    assert len(sampler) == 0


def test_waits_of_other_amounts_of_work_are_not_used() -> None:
    history = WaitHistory()
    for _ in range(LEAST_WAITS):
        history.add(Ahead(1, 1.0, 0.0), 2.0)
    assert history.estimate(Ahead(1, 4.0, 0.0)) == (8.0, 8.0)
    assert history.estimate(Ahead(1, 100.0, 0.0)) is None
    assert history.estimate(Ahead(1, 0.01, 0.0)) is None
    assert history.estimate(Ahead(2, 1.0, 0.0)) is None


def test_the_p90_of_few_waits_is_the_longest_one() -> None:
    history = WaitHistory()
    for number in range(LEAST_WAITS):
        history.add(Ahead(1, 1.0, 0.0), 1.0 + number)
    found = history.estimate(Ahead(1, 1.0, 0.0))
    assert found == (5.5, 10.0)


def test_bursts_are_jobs_at_once() -> None:
    found = bursts(random.Random(1), "a", 100.0, 10.0, 3, 1.0)
    assert len(found) == 3 * len({each.at for each in found})
