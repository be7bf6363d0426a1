# SPDX-License-Identifier: Apache-2.0
"""A process that opens many WatchJob streams and reports the events of each.

It reads commands as lines of JSON from standard input and writes a line of JSON for each to standard output.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from typing import Any

import grpc

from qonduit.v1.job_service_pb2 import WatchJobRequest, WatchJobResponse

_CALL = "/qonduit.v1.JobService/WatchJob"
#: The timeout of every operation.
_SECONDS = 300


class _Watcher:
    """One stream and its events."""

    def __init__(self, job_id: int, after: int) -> None:
        self.job_id = job_id
        self.last = after
        self.events = 0
        self.wrong = ""
        self.code = ""
        self.ended = False
        self.opened = asyncio.Event()

    async def watch(self, call: Any, late: list[float]) -> None:
        """Read to the end. Append the delay of each event to `late`, in seconds."""
        request = WatchJobRequest(job_id=self.job_id, after_sequence=self.last).SerializeToString()
        try:
            async for data in call(request, timeout=_SECONDS):
                now = time.time()
                event = WatchJobResponse.FromString(data).event
                if event.sequence:
                    self.events += 1
                    if self.ended or event.sequence != self.last + 1 or event.job_id != self.job_id:
                        self.wrong = f"job {event.job_id}, event {event.sequence} after {self.last} of {self.job_id}"
                    self.last = event.sequence
                    self.ended = event.state_change.job.HasField("finished_at")
                    late.append(now - event.event_time.ToNanoseconds() / 1e9)
                self.opened.set()
            self.code = "OK"
        except grpc.aio.AioRpcError as error:
            self.code = error.code().name
        self.opened.set()


class _Crowd:
    def __init__(self, target: str) -> None:
        self._target = target
        self._watchers: list[_Watcher] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._late: list[float] = []

    async def open(self, jobs: list[int], streams: int, channels: int, after: int) -> dict[str, object]:
        """Open all streams at once, distributed over jobs and channels; return when each has received a message."""
        made = [
            grpc.aio.insecure_channel(self._target, options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(channels)
        ]
        calls = [channel.unary_stream(_CALL) for channel in made]
        begun = time.perf_counter()
        opened = [_Watcher(jobs[number % len(jobs)], after) for number in range(streams)]
        for number, watcher in enumerate(opened):
            self._tasks.append(asyncio.create_task(watcher.watch(calls[number % channels], self._late)))
        self._watchers += opened
        for watcher in opened:
            await watcher.opened.wait()
        return {"seconds": time.perf_counter() - begun, "codes": Counter(w.code for w in opened if w.code)}

    async def late(self) -> dict[str, object]:
        """Return the delays of events since the last call, in seconds."""
        late = self._late.copy()
        self._late.clear()
        return {"late": late}

    async def finish(self) -> dict[str, object]:
        """Return when every stream has ended."""
        begun = time.perf_counter()
        await asyncio.wait_for(asyncio.gather(*self._tasks), _SECONDS)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": time.perf_counter() - begun,
            "codes": Counter(watcher.code for watcher in self._watchers),
            "whole": sum(watcher.ended and not watcher.wrong for watcher in self._watchers),
            "wrong": [watcher.wrong for watcher in self._watchers if watcher.wrong][:3],
            "events": sum(watcher.events for watcher in self._watchers),
            "cpu": usage.ru_utime + usage.ru_stime,
        }


async def _main(target: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    crowd = _Crowd(target)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        print(json.dumps(await getattr(crowd, name)(**arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
