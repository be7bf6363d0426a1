# SPDX-License-Identifier: Apache-2.0
"""Benchmark what a part of the server costs Bell jobs, by switching it on and off in one server under one load.

`python -m tests.benchmarks.overheads metrics|traces|audit ROUNDS` prints lines of JSON for `tests.benchmarks.__main__`.
A round is several windows with the part and without, in the order on, off, off, on, so that a drift of the machine's
speed affects both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import load, programs
from tests.benchmarks.switched_server import create_switch
from tests.otlp_receiver import receiving
from tests.server_process import Server, log_lines, serving

_STREAMS: Final = 32
_SHOTS: Final = 1000
_WARM_SECONDS: Final = 3.0
#: The number of windows on, off, off, on in a round, in fours.
_REPEATS: Final = 4


@dataclass(frozen=True)
class Part:
    """A part whose cost is measured.

    Attributes:
        name: of the part, in a table.
        reference: the server without it.
        allowed: its cost that is allowed, as a share.
        settle: seconds from switching until the window: jobs and spans of the other state must have ended.
        window: seconds of a window.
    """

    name: str
    reference: str
    allowed: float
    settle: float
    window: float


#: A Prometheus scrapes at most once a second; spans wait at most a second for their request.
PARTS: Final = {
    "metrics": Part("metrics, scraped each second", "without", 0.03, 0.4, 1.0),
    "traces": Part("metrics and 5 % of traces to a collector", "without", 0.05, 1.6, 2.0),
    "audit": Part("the audit log of changes", "without", 0.05, 0.4, 1.0),
}


def _processor_seconds(pids: list[int]) -> float:
    """Return the processor time of processes, with the precision of their clocks; /proc counts in 10 ms."""
    # A process's clock id, as clock_getcpuclockid(3) calculates it.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


@dataclass
class _Load:
    """Bell jobs on a server until `end`: the durations of those that have ended."""

    target: str

    def __post_init__(self) -> None:
        self.times: list[float] = []
        self.found: dict[str, object] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        request = load.request([programs.BELL], _SHOTS)
        self.found = load.run_until(self.target, request, self._ended.is_set, _STREAMS, self.times)

    def end(self) -> None:
        """End the load, and check the jobs."""
        self._ended.set()
        self._thread.join()
        if self.found.get("failures") or not self.found.get("checked"):
            raise RuntimeError(f"jobs failed: {self.found.get('failures')}")


def _scraper(server: Server) -> Callable[[], None]:
    (line,) = log_lines(server, lambda line: line["event"] == "serving metrics")

    def scrape() -> None:
        with urllib.request.urlopen(line["url"], timeout=60) as response:
            response.read()

    return scrape


def measured(kind: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the processor time of a job, and the jobs a second, with a part and without."""
    part = PARTS[kind]
    cpus: list[list[float]] = [[], []]
    rates: list[list[float]] = [[], []]
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        settings = {"preload": "IBM", "audit": "off"}
        if kind == "metrics":
            settings["metrics_address"] = "127.0.0.1:0"
        elif kind == "traces":
            settings["otlp_endpoint"] = ends.enter_context(receiving()).url
        switch = create_switch(folder / "switch")
        server = ends.enter_context(
            serving(
                f"sqlite:///{folder / 'jobs.sqlite3'}",
                log=folder / "log",
                command=(sys.executable, "-m", "tests.benchmarks.switched_server", "serve"),
                environment={
                    "BENCHMARK_PART": "audit" if kind == "audit" else "metrics",
                    "BENCHMARK_SWITCH": str(folder / "switch"),
                },
                **settings,
            )
        )
        scrape = _scraper(server) if kind == "metrics" else None
        bell = _Load(server.target)
        ends.callback(bell.end)
        time.sleep(_WARM_SECONDS)

        def window(on: bool) -> tuple[float, float, int]:
            """Return the seconds, the processor seconds and the jobs of a window."""
            switch[0] = on
            time.sleep(part.settle)
            pids = server.family()
            begun, cpu, jobs = time.perf_counter(), _processor_seconds(pids), len(bell.times)
            time.sleep(part.window / 2)
            if on and scrape is not None:
                scrape()
            time.sleep(max(0.0, begun + part.window - time.perf_counter()))
            return time.perf_counter() - begun, _processor_seconds(pids) - cpu, len(bell.times) - jobs

        for _ in range(rounds):
            sums = {True: [0.0, 0.0, 0], False: [0.0, 0.0, 0]}
            for on in (True, False, False, True) * _REPEATS:
                sums[on] = [a + b for a, b in zip(sums[on], window(on), strict=True)]
            for place, on in enumerate((True, False)):
                seconds, cpu, jobs = sums[on]
                cpus[place].append(cpu / jobs)
                rates[place].append(jobs / seconds)
    for what, unit, goal, (ours, theirs) in (
        ("Bell jobs a second", "jobs/s", f">= {1 - part.allowed:.2f}", rates),
        ("CPU a job", "ms", f"<= {1 + part.allowed:.2f}", cpus),
    ):
        yield {
            "what": f"{what} with {part.name}",
            "reference": part.reference,
            "unit": unit,
            "goal": goal,
            "ours": ours,
            "theirs": theirs,
        }


if __name__ == "__main__":
    for each in measured(sys.argv[1], int(sys.argv[2])):
        print(json.dumps(each), flush=True)
