# SPDX-License-Identifier: Apache-2.0
"""The queue of a real store under a synthetic load, in virtual time: real claims and records, and no worker."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.cost_estimates import Estimate
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import queue, queue_positions
from qonduit_server.store.jobs.queue_sampling import QueueSampler
from tests.store_fixture import description, finished, submit, succeeded

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: The caller of all jobs of a queue in the order of submission.
_ONE_CALLER: Final = "all"


class Arrival(NamedTuple):
    """A job: when it is created, by whom, the seconds for which it occupies a worker, and its project, if any."""

    at: float
    caller: str
    seconds: float
    project: str = ""


class Started(NamedTuple):
    """A started job: its arrival, and the seconds that it waited."""

    arrival: Arrival
    job_id: int
    wait: float


class Estimated(NamedTuple):
    """An estimate of a waiting job, and what happened: the seconds until its start and its end."""

    start: Estimate
    end: Estimate
    waited: float
    ended: float

    @staticmethod
    def coverage(found: Sequence[Estimated], what: str) -> tuple[float, float]:
        """Return the parts of jobs that started (or ended) within the p50, and within the p90."""
        pairs = [(each.start, each.waited) if what == "start" else (each.end, each.ended) for each in found]
        p50, p90 = (sum(real <= each[place] for each, real in pairs) / len(pairs) for place in (0, 1))
        return p50, p90


class QueueSimulation:
    """A store whose time advances from event to event. `now` is the time in seconds.

    Args:
        db: the store; `simulated_queue` opens it.
        workers: the number of jobs that run at once.
    """

    def __init__(self, db: Database, workers: int) -> None:
        self.db = db
        self.now = 0.0
        self._workers = workers
        self._free = workers
        self._running: list[tuple[float, int, float, Task]] = []
        self._waiting: dict[int, Arrival] = {}

    def run(
        self, arrivals: Sequence[Arrival], *, fair: bool = True, tick: Callable[[list[int]], None] | None = None
    ) -> list[Started]:
        """Run jobs until all have ended; return them in the order of their starts.

        Args:
            arrivals: the jobs.
            fair: whether callers share the workers; if not, jobs start in the order of submission.
            tick: called every second with the ids of the waiting jobs.
        """
        coming = sorted(arrivals)[::-1]
        started: list[Started] = []
        next_tick = self.now + 1.0
        while coming or self._waiting or self._running:
            while coming and coming[-1].at <= self.now:
                arrival = coming.pop()
                caller = arrival.caller if fair else _ONE_CALLER
                self._waiting[submit(self.db, caller=caller, project=arrival.project).id] = arrival
            started += self._claim()
            if tick is not None and self.now >= next_tick:
                tick(list(self._waiting))
                next_tick += 1.0
            times = [self._running[0][0]] if self._running else []
            times += [coming[-1].at] if coming else []
            times += [next_tick] if tick is not None and self._waiting else []
            if times:
                self.now = max(self.now, min(times))
            next_tick = max(next_tick, self.now)
            self._end()
        return started

    def _claim(self) -> Iterator[Started]:
        while self._free:
            tasks = queue.claim(self.db, "me", {"IBM": self._free}, timedelta(days=1), self._workers)
            for task in tasks:
                arrival = self._waiting.pop(task.job_id)
                heapq.heappush(self._running, (self.now + arrival.seconds, task.job_id, arrival.seconds, task))
                self._free -= 1
                yield Started(arrival, task.job_id, self.now - arrival.at)
            if not tasks:
                return

    def _end(self) -> None:
        events = []
        while self._running and self._running[0][0] <= self.now:
            _, _, seconds, task = heapq.heappop(self._running)
            last = finished(task)
            last.finished.seconds = seconds
            events += [succeeded(task), last]
            self._free += 1
        assert not queue.record(self.db, "me", events)


@contextmanager
def simulated_queue(folder: Path, workers: int) -> Iterator[QueueSimulation]:
    """Yield a queue in a SQLite file in a folder."""
    simulation: QueueSimulation
    db = open_database(
        f"sqlite:///{folder / 'queue.sqlite3'}", clock=lambda: _EPOCH + timedelta(seconds=simulation.now)
    )
    simulation = QueueSimulation(db, workers)
    db.lane_accounts._clock = lambda: simulation.now
    try:
        catalogue.sync(db, [description()])
        yield simulation
    finally:
        db.close()


def steady(chance: random.Random, caller: str, until: float, every: float, seconds: float) -> list[Arrival]:
    """Return jobs that one caller creates at random times, with random run times, both of these means."""
    found: list[Arrival] = []
    at = chance.expovariate(1 / every)
    while at < until:
        found.append(Arrival(at, caller, chance.expovariate(1 / seconds)))
        at += chance.expovariate(1 / every)
    return found


def bursts(chance: random.Random, caller: str, until: float, every: float, count: int, seconds: float) -> list[Arrival]:
    """Return jobs that one caller creates many at once."""
    return [
        Arrival(burst.at, caller, chance.expovariate(1 / seconds))
        for burst in steady(chance, caller, until, every, seconds)
        for _ in range(count)
    ]


def mixed_load(chance: random.Random, until: float) -> list[Arrival]:
    """Return a load of about 3.2 workers: six light callers, a steady one, and two that create many jobs at once."""
    light = [each for number in range(6) for each in steady(chance, f"light{number}", until, 10.0, 1.0)]
    medium = steady(chance, "medium", until, 5.0, 3.0)
    heavy = bursts(chance, "heavy", until, 80.0, 40, 3.0)
    return light + medium + heavy + bursts(chance, "batch", until, 60.0, 60, 0.5)


def observe(simulation: QueueSimulation, arrivals: Sequence[Arrival], chance: random.Random) -> list[Estimated]:
    """Run jobs; return estimates of random waiting ones, two a second as soon as they are known."""
    sampler = QueueSampler(simulation.db, chance)
    made: list[tuple[float, int, Estimate, Estimate]] = []

    def tick(waiting: list[int]) -> None:
        sampler.step()
        for job_id in chance.sample(waiting, min(2, len(waiting))):
            place = queue_positions.of_job(simulation.db, job_id)
            if place is not None and place.HasField("estimated_start_seconds_p50"):
                start = Estimate(place.estimated_start_seconds_p50, place.estimated_start_seconds_p90)
                end = Estimate(place.estimated_end_seconds_p50, place.estimated_end_seconds_p90)
                if place.HasField("estimated_end_seconds_p50"):
                    made.append((simulation.now, job_id, start, end))

    times = {
        each.job_id: (each.arrival.at + each.wait, each.arrival.seconds) for each in simulation.run(arrivals, tick=tick)
    }
    return [Estimated(start, end, times[job_id][0] - at, sum(times[job_id]) - at) for at, job_id, start, end in made]
