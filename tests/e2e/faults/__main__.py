# SPDX-License-Identifier: Apache-2.0
"""`make crash`: hundreds of kills, on one database of each kind at a time, and a summary of the checks.

With `EXECUTOR=celery`, jobs run on worker machines, and the machines and their broker are killed, too.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from tests.e2e.faults.campaign import Campaign
from tests.postgresql import PostgresqlServer, find_binaries
from tests.rabbitmq import RabbitmqBroker, find_installation

#: After this many kills everything since the last check is verified; jobs and events stay in the database.
_BETWEEN_CHECKS = 25
_DATABASES = ("sqlite", "postgresql")


def main() -> int:
    """Run the campaigns and print their summaries."""
    parser = argparse.ArgumentParser(prog="make crash")
    parser.add_argument("--kills", type=int, default=500, help="how many, over both databases")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a run")
    parser.add_argument("--database", choices=_DATABASES, help="only this one")
    parser.add_argument("--executor", choices=("local", "celery"), default="local", help="what runs the jobs")
    options = parser.parse_args()
    names = [options.database] if options.database else list(_DATABASES)
    each = -(-options.kills // len(names))
    print(f"seed {options.seed}: {each} kills on each of {', '.join(names)}", flush=True)
    enough = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: enough.set())
    done: list[Campaign] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="crash") as kept:
        threads = [
            threading.Thread(target=_run, args=(name, Path(kept), options, each, done, failed, enough))
            for name in names
        ]
        # Concurrently: a campaign mostly waits for processes to start and for leases to expire.
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _print_summary(done)
    if failed:
        again = f"make crash EXECUTOR={options.executor} KILLS={options.kills} SEED={options.seed}"
        print(*failed, f"FAILED. To repeat it: {again}", sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _run(
    name: str,
    folder: Path,
    options: argparse.Namespace,
    kills: int,
    done: list[Campaign],
    failed: list[str],
    enough: threading.Event,
) -> None:
    """Run one campaign of this many kills, or until a stop is requested."""
    postgresql: PostgresqlServer | None = None
    broker: RabbitmqBroker | None = None
    try:
        url = f"sqlite:///{folder / 'qonduit.sqlite3'}"
        if name == "postgresql":
            binaries = find_binaries()
            if binaries is None:
                raise AssertionError("no initdb on PATH or under /usr/lib/postgresql: PostgreSQL was NOT tested")
            postgresql = PostgresqlServer(binaries)
            url = postgresql.url(postgresql.new_database())
        if options.executor == "celery":
            installation = find_installation()
            if installation is None:
                raise AssertionError("no rabbitmq-server under /usr/lib/rabbitmq: worker machines were NOT tested")
            broker = RabbitmqBroker(installation)
        campaign = Campaign(name, url, folder / name, options.seed, broker)
        done.append(campaign)
        try:
            _run_kills(campaign, kills, enough)
        finally:
            campaign.close()
    except BaseException:  # noqa: BLE001 - the other campaign continues, and the summary reports this one
        failed.append(traceback.format_exc())
        print(f"{name}: failed", flush=True)
    finally:
        if broker is not None:
            broker.close()
        if postgresql is not None:
            postgresql.close()


def _run_kills(campaign: Campaign, kills: int, enough: threading.Event) -> None:
    since_check = 0
    while True:
        for point in campaign.draw(list(campaign.points)):
            before = campaign.total
            campaign.kill_at(point)
            since_check += campaign.total - before
            over = campaign.total >= kills or enough.is_set()
            if since_check >= _BETWEEN_CHECKS or over:
                since_check = 0
                campaign.finish()
                print(f"{campaign.name}: {campaign.summary()}", flush=True)
            if over:
                return


def _print_summary(done: list[Campaign]) -> None:
    print(f"\n{'step':>4}  {'killed at':30}{'process':10}" + "".join(f"{campaign.name:>12}" for campaign in done))
    for point in done[0].points if done else ():
        counts = "".join(f"{campaign.kills[point.name]:12}" for campaign in done)
        print(f"{point.step:4}  {point.name:30}{point.process:10}{counts}")
    for campaign in done:
        print(f"{campaign.name}: {campaign.summary()}")
    print(f"{sum(campaign.total for campaign in done)} kills", flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)
