# SPDX-License-Identifier: Apache-2.0
"""Benchmark the queue in virtual time: waits of callers against a queue in the order of submission, and estimates.

`python -m tests.benchmarks.queue_waits shares|estimates ROUNDS` prints lines of JSON for `tests.benchmarks.__main__`.
The claims are those of a server; times are simulated, so the load of the machine changes nothing.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.contract.queue_simulation import Arrival, Estimated, mixed_load, observe, simulated_queue

_WORKERS: Final = 2
_ESTIMATED_WORKERS: Final = 4
_SECONDS: Final = 300.0


def skewed_load(seed: int) -> list[Arrival]:
    """Return a heavy caller with 60 jobs of 4 s at once, one with 40 of 1 s, and ten with 15 of 0.05 s now and then."""
    chance = random.Random(seed)
    heavy = [Arrival(0.0, "heavy", 4.0) for _ in range(60)]
    medium = [Arrival(chance.uniform(0, 20), "medium", 1.0) for _ in range(40)]
    light = [Arrival(chance.uniform(0, 100), f"light{number}", 0.05) for number in range(10) for _ in range(15)]
    return heavy + medium + light


def _waits(arrivals: Sequence[Arrival], *, fair: bool) -> dict[str, list[float]]:
    """Return the sorted waits of each kind of caller."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, simulated_queue(Path(folder), _WORKERS) as simulation:
        for started in simulation.run(arrivals, fair=fair):
            found[started.arrival.caller.rstrip("0123456789")].append(started.wait)
    return {caller: sorted(waits) for caller, waits in found.items()}


def percentile(values: Sequence[float], part: float) -> float:
    """Return a percentile of sorted values: the smallest one that this part of them does not exceed."""
    return values[max(0, math.ceil(part * len(values)) - 1)]


def shares(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the waits of each kind of caller under fair share and in the order of submission."""
    for seed in range(rounds):
        arrivals = skewed_load(seed)
        fair, fifo = _waits(arrivals, fair=True), _waits(arrivals, fair=False)
        for caller, waits in fair.items():
            for part in (0.5, 0.95):
                yield {
                    "what": f"wait of a {caller} caller under a skewed load, p{part * 100:.0f}",
                    "ours": percentile(waits, part),
                    "theirs": percentile(fifo[caller], part),
                }


def estimates(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the parts of jobs that started and ended within their p50 and p90."""
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder, simulated_queue(Path(folder), _ESTIMATED_WORKERS) as simulation:
            found = observe(simulation, mixed_load(random.Random(seed), _SECONDS), random.Random(seed))
        for what in ("start", "end"):
            for name, part in zip(("p50", "p90"), Estimated.coverage(found, what), strict=True):
                yield {"what": f"jobs that {what} within the estimated {name}", "ours": part, "estimates": len(found)}


if __name__ == "__main__":
    KINDS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {"shares": shares, "estimates": estimates}
    for line in KINDS[sys.argv[1]](int(sys.argv[2])):
        print(json.dumps(line), flush=True)
