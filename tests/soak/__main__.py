# SPDX-License-Identifier: Apache-2.0
"""`make soak MINUTES=30`: rounds of random work and faults on a real server; resources are measured in between.

With `EXECUTOR=celery`, jobs run on worker machines; machines and their broker are killed, too.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from qonduit_client import Client
from tests.e2e.faults.engine import Engine
from tests.postgresql import PostgresqlServer, find_binaries
from tests.rabbitmq import RabbitmqBroker, find_installation
from tests.server_process import resident, serving
from tests.soak.actors import DEVICES, Killer, Tally, User, children, together

_USERS = 6
_ROUNDS = 10
_QUIET_SECONDS = 60.0
#: How much the last rounds may exceed the middle ones: caches and warm processes vary by this much.
_SLACK = {"resident MiB": 12.0, "threads": 4.0, "file handles": 8.0, "processes": 1.0, "rows": 0.0}
_TABLES = ("jobs", "events", "results", "buffers", "options", "job_options")


@dataclass(frozen=True)
class Sample:
    """The resources of an idle server, and of a machine that is never killed."""

    resident: float
    threads: int
    handles: int
    processes: int
    rows: int

    def values(self) -> dict[str, float]:
        """Return the values by name, as they are printed and compared."""
        numbers = (self.resident, self.threads, self.handles, self.processes, self.rows)
        return dict(zip(_SLACK, map(float, numbers), strict=True))


def sample(pids: list[int], engine: sa.Engine) -> Sample:
    """Measure the resources of processes. Rows count jobs, all deleted by now, and their dependent rows."""
    with engine.connect() as connection:
        rows = sum(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() for table in _TABLES)
    return Sample(
        resident=sum(map(resident, pids)) / 1024**2,
        threads=sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
        handles=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        processes=sum(1 + len(family(pid)) for pid in pids),
        rows=rows,
    )


def family(pid: int) -> list[int]:
    """Return all descendants of a process."""
    direct = children(pid)
    return direct + [further for child in direct for further in family(child)]


def clear(target: str, tally: Tally) -> None:
    """Wait for the jobs that killed clients left, and delete all jobs."""
    with Client(target, timeout=_QUIET_SECONDS) as client:
        for job in list(client.jobs()):
            client.job(job.id).wait(_QUIET_SECONDS)
            client.delete_job(job.id)
            tally.note(state="of killed clients")
        for deployment in list(client.deployments()):
            client.delete_deployment(deployment.id)


@contextmanager
def database(kind: str, folder: str) -> Iterator[str]:
    """A new database of a kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/soak.sqlite3"
        return
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("no PostgreSQL is installed here")
    postgresql = PostgresqlServer(binaries)
    try:
        yield postgresql.url(postgresql.new_database())
    finally:
        postgresql.close()


@contextmanager
def worker_machines(executor: str, log: Path) -> Iterator[Engine | None]:
    """Three worker machines and their broker, or none of them."""
    if executor == "local":
        yield None
        return
    installation = find_installation()
    if installation is None:
        raise SystemExit("no RabbitMQ is installed here")
    broker = RabbitmqBroker(installation)
    try:
        machines = Engine(broker, {}, log, "IBM,AWS,GOOGLE", machines=3)
        try:
            yield machines
        finally:
            machines.close()
    finally:
        broker.close()


def verdict(samples: list[Sample]) -> list[str]:
    """Return the values that grew: medians of the last third against the middle third; the first third is warm-up."""
    third = max(1, len(samples) // 3)
    middle, last = samples[-2 * third : -third] or samples[:1], samples[-third:]
    grown = []
    for name, slack in _SLACK.items():
        before = statistics.median(each.values()[name] for each in middle)
        after = statistics.median(each.values()[name] for each in last)
        if after > before + slack:
            grown.append(f"{name} grew from {before:g} to {after:g}")
    return grown


def main() -> int:
    """Run the rounds and print the table; return 1 on a leak or a broken guarantee."""
    arguments = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=30.0)
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    arguments.add_argument("--executor", choices=("local", "celery"), default="local")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    chosen = arguments.parse_args()
    again = f"--minutes {chosen.minutes:g} --executor {chosen.executor} --seed {chosen.seed}"
    print(f"seed {chosen.seed} (again: python -m tests.soak {again})")
    tally = Tally()
    samples: list[Sample] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qonduit-soak-") as folder, database(chosen.database, folder) as url:
        log = Path(folder) / "log"
        # Processes are killed all the time; jobs must not fail for lack of attempts.
        settings = {"max_attempts": "20", "workers": "2"}
        with (
            worker_machines(chosen.executor, log) as machines,
            serving(url, log=log, **settings, **(machines.settings if machines is not None else {})) as server,
        ):
            if machines is not None:
                for device in DEVICES:
                    machines.wait_offered(server.target, device)
            engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            print("\t".join(("round", "jobs", "killed", *_SLACK)), flush=True)
            for place in range(_ROUNDS):
                works = [User(server.target, tally, chosen.seed + 1000 * place + user).work for user in range(_USERS)]
                seed = chosen.seed + 1000 * place + _USERS
                killer = Killer(server.target, server.process.pid, tally, seed, machines)
                together([*works, killer.work], chosen.minutes * 60 / _ROUNDS)
                clear(server.target, tally)
                samples.append(sample([server.process.pid, *(machines.pids[:1] if machines else [])], engine))
                shown = [f"{value:.1f}" for value in samples[-1].values().values()]
                print(
                    "\t".join((str(place + 1), str(tally.ended.total()), str(tally.killed.total()), *shown)), flush=True
                )
            engine.dispose()
            server.process.terminate()
            code = server.process.wait(120)
        left = [pid for pid in family(os.getpid()) if pid != os.getpid()]
        wrong = [*tally.wrong, *verdict(samples)]
        wrong += [line for line in log.read_text().splitlines() if '"level":"error"' in line][:20]
        if code:
            wrong.append(f"the server ended with {code}")
        if chosen.database == "sqlite" and left:
            wrong.append(f"processes were left: {left}")
    print(f"ended {dict(tally.ended)}, killed {dict(tally.killed)}")
    print(f"{tally.events} events, {tally.resumed} streams resumed, {time.monotonic() - begun:.0f} s")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    print("nothing leaked, nothing lost" if not wrong else f"{len(wrong)} things are wrong; seed {chosen.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
