# SPDX-License-Identifier: Apache-2.0
"""Benchmark the events of jobs that another server of one PostgreSQL runs, against those of the server's own watchers.

`python -m tests.benchmarks.other_servers servers_events|servers_cpu ROUNDS` prints lines of JSON for
`tests.benchmarks.__main__`.

The delay of an event is the time from its `event_time`, when its transaction begins, until the client receives it. So
it includes the commit. Jobs start a moment after their creation (`not_before`), so that their watchers wait for them.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from qonduit.v1 import job_service_pb2, job_service_pb2_grpc
from qonduit.v1.job_pb2 import JobState
from tests.benchmarks import load, programs
from tests.postgresql import running
from tests.server_process import Server, serving

_SHOTS: Final = 100
#: From the creation of a job until it may start.
_WAIT_SECONDS: Final = 0.5
#: The jobs at a time that find the peak rate.
_JOBS: Final = 256
_SECONDS: Final = 6.0
_STREAMS: Final = 32
_SERVERS: Final = 4
#: For the start of all workers.
_WARM_SECONDS: Final = 5.0


@dataclass
class _Delays:
    """The delays of events in seconds, and the number of jobs that ended."""

    seconds: list[float] = field(default_factory=list)
    ended: int = 0


class _Watchers:
    """Creates jobs at one server, and watches them there or at another one.

    Args:
        runner: the target of the server that runs the jobs.
        targets: of the servers that are watched, in turn.
    """

    def __init__(self, runner: str, targets: tuple[str, ...]) -> None:
        self._channels = [grpc.aio.insecure_channel(target) for target in (runner, *targets)]
        self._creating, *self._watching = map(job_service_pb2_grpc.JobServiceStub, self._channels)
        self._request = job_service_pb2.CreateJobRequest()
        run = load.request([programs.BELL], _SHOTS)
        self._request.job.CopyFrom(run.job)
        self._request.deployment.CopyFrom(run.deployment)
        self._request.device = run.device
        self._next = 0
        self.delays = [_Delays() for _ in targets]

    async def job(self) -> None:
        """Create a job, and watch it to its end."""
        place = self._next = (self._next + 1) % len(self.delays)
        request = job_service_pb2.CreateJobRequest()
        request.CopyFrom(self._request)
        request.job.not_before.FromNanoseconds(time.time_ns() + int(_WAIT_SECONDS * 1e9))
        created = (await self._creating.CreateJob(request, timeout=60)).job
        watched = time.time()
        delays = self.delays[place]
        stream = self._watching[place].WatchJob(job_service_pb2.WatchJobRequest(job_id=created.id), timeout=60)
        async for response in stream:
            event = response.event
            if event.sequence:
                begun = event.event_time.ToNanoseconds() / 1e9
                # The watcher reads what had happened before; the events of the start come in its time.
                if begun > watched + _WAIT_SECONDS / 2:
                    delays.seconds.append(time.time() - begun)
                last = event
        if last.state_change.to_state != JobState.JOB_STATE_SUCCEEDED:
            raise RuntimeError(f"job {created.id} failed: {last.state_change.job.failure.message}")
        delays.ended += 1

    async def peak(self) -> float:
        """Return the jobs a second with a constant number of jobs at a time."""
        self.delays = [_Delays() for _ in self.delays]  # not those of `at_rate`
        end = time.perf_counter() + _SECONDS
        ends: list[float] = []

        async def repeat() -> None:
            while time.perf_counter() < end:
                await self.job()
                ends.append(time.perf_counter())

        async with asyncio.TaskGroup() as group:
            for _ in range(_JOBS):
                group.create_task(repeat())
        # Without the beginning, when none ended, and the end, when no further ones began.
        counted = [each for each in ends if end - _SECONDS * 0.7 < each <= end]
        return len(counted) / (_SECONDS * 0.7)

    async def at_rate(self, rate: float) -> list[_Delays]:
        """Create jobs at a rate, and return the delays of their events at each watched server."""
        self.delays = [_Delays() for _ in self.delays]
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(math.ceil(rate * _SECONDS)):
                await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
                group.create_task(self.job())
        return self.delays

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[math.ceil(len(values) * part) - 1]


async def _measured(runner: str, other: str, rounds: int) -> tuple[list[float], list[list[_Delays]]]:
    watchers = _Watchers(runner, (other, runner))
    await watchers.at_rate(20.0)
    peaks, delays = [], []
    for _ in range(rounds):
        peaks.append(await watchers.peak())
        delays.append(await watchers.at_rate(peaks[-1] / 2))
    await watchers.close()
    return peaks, delays


def events(url: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the delays of events at the other server and at the server of the jobs, at half of the peak rate."""
    with serving(url, preload="IBM") as runner, _listening(url) as other:
        peaks, rates = asyncio.run(_measured(runner.target, other.target, rounds))
    what = "watched jobs a second of two servers, PostgreSQL, peak"
    yield {"what": what, "unit": "jobs/s", "goal": "", "ours": peaks}
    for part, name, goal in ((0.5, "p50", ""), (0.99, "p99", "<= 50 ms")):
        theirs, own = ([_quantile(delays[place].seconds, part) for delays in rates] for place in (1, 0))
        yield {
            "what": f"an event of another server at half of that rate, {name}",
            "reference": "watched at the server that runs the job",
            "unit": "ms",
            "goal": goal,
            "ours": own,
            "theirs": theirs,
        }


def _listening(url: str) -> Any:
    """Start a server that runs no job of the benchmark, because it has another provider."""
    return serving(url, preload="", providers="STIM")


def idle(url: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the processor time that each job costs the servers that neither run nor watch it."""
    own, theirs = [], []
    with ExitStack() as ends:
        runner = ends.enter_context(serving(url, preload="IBM"))
        others: list[Server] = [ends.enter_context(_listening(url)) for _ in range(_SERVERS - 1)]
        request = load.request([programs.BELL], _SHOTS)
        time.sleep(_WARM_SECONDS)
        for number in range(rounds + 1):
            before = runner.cpu(), sum(other.cpu() for other in others)
            found: Any = load.run_for(runner.target, request, _SECONDS, _STREAMS)
            jobs = len(found["times"])
            if number:
                theirs.append((runner.cpu() - before[0]) / jobs)
                own.append((sum(other.cpu() for other in others) - before[1]) / jobs / len(others))
    yield {
        "what": f"CPU a job of a server that neither runs nor watches it, PostgreSQL, {_SERVERS} servers",
        "reference": "server and workers that run it",
        "unit": "ms",
        "goal": "",
        "ours": own,
        "theirs": theirs,
    }


def main(kind: str, rounds: int) -> None:
    """Measure one kind."""
    with running() as server:
        for line in (events if kind == "servers_events" else idle)(server.url(server.new_database()), rounds):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
