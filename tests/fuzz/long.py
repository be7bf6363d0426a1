# SPDX-License-Identifier: Apache-2.0
"""The long form: fuzzes a real server process, and runs the state machine, until the time is over.

`make fuzz-surface SECONDS=600`, or `python -m tests.fuzz.long --seconds 600`. Each round has a seed, which is
printed; `--seed` does that round alone, on a fresh server.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from qonduit_server.store import migrations
from tests.contract.rpc_fixture import by_name, rpc_fixture
from tests.fuzz.machine import Machine
from tests.fuzz.observing import Clock
from tests.fuzz.process import SMALL, fuzzed_server
from tests.fuzz.surface import fuzz, sweep
from tests.postgresql import start_or_skip

#: Most bytes that the server may grow by from the end of the first round to the end of the last.
_MOST_GROWN = 150 * 1024**2
_FIRST_SEEDS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz; raise an error on the first finding."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.long", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, help="do this one round")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    options = parser.parse_args(arguments)
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(_Nowhere()))  # type: ignore[arg-type]
    first = random.randrange(_FIRST_SEEDS) if options.seed is None else options.seed
    server = start_or_skip() if options.postgresql else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            urls = [f"sqlite:///{folder}/{name}.sqlite3" for name in ("surface", "machine")]
            if server is not None:
                urls = [server.url(server.new_database()) for _ in urls]
                for url in urls:
                    migrations.upgrade(url)
            _rounds(Path(folder), urls, first, 0.0 if options.seed is not None else options.seconds)
    finally:
        if server is not None:
            server.close()


def _rounds(folder: Path, urls: Sequence[str], first: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    seen: Counter[tuple[str, str]] = Counter()
    resident: list[int] = []
    with fuzzed_server(folder, urls[0]) as (running, channel, known):
        seed = first
        while seed == first or time.monotonic() < end:
            print(f"seed {seed}; again: make fuzz-surface SEED={seed}", flush=True)
            seen += fuzz(channel, known, examples=20, seed=seed, most_request_bytes=int(SMALL["max_request_bytes"]))
            assert running.process.poll() is None, "the server ended"
            resident.append(running.resident())
            _machine(urls[1], seed)
            seed += 1
        jobs = sweep(channel)
    calls = Counter(code for (_, code), times in seen.items() for _ in range(times))
    print(f"{seed - first} rounds, {calls.total()} calls: {dict(calls.most_common())}; {len(jobs)} jobs at the end")
    print(f"resident MiB after each round: {[each // 1024**2 for each in resident]}")
    assert resident[-1] - resident[0] < _MOST_GROWN, "the server grows"


def _machine(url: str, seed: int) -> None:
    clock = Clock()
    with rpc_fixture(url, clock=clock, authenticate=by_name("stranger")) as rpc:
        run_state_machine_as_test(
            hypothesis.seed(seed)(lambda: Machine(rpc, clock)),
            settings=settings(
                max_examples=40,
                stateful_step_count=60,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


class _Nowhere:
    """A stream that discards all output."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


if __name__ == "__main__":
    main()
