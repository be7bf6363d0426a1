# SPDX-License-Identifier: Apache-2.0
"""The actors of a soak test: users with jobs of every kind, and a process killer."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client, JobHandle
from qonduit_client.job import TERMINAL
from tests import example_programs
from tests.benchmarks.programs import BELL, HEADER, layered
from tests.e2e.faults.engine import Engine

#: Ended jobs between two kills of a process, and of a client.
_JOBS_A_KILL: Final = 25
_JOBS_A_CLIENT: Final = 60
#: The shares of kills with worker machines.
_KILLS_OF_MACHINES: Final = 0.15
_KILLS_OF_BROKERS: Final = 0.1
_WAIT_SECONDS: Final = 120.0
#: The devices of the jobs.
DEVICES: Final = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator")
_BROKEN: Final = HEADER + "qreg q[1];\nno such gate q[0];\n"
_SUPERPOSED: Final = HEADER + "qreg q[14];\ncreg c[14];\nh q;\nmeasure q -> c;\n"
#: The program of a client process: submit and watch jobs until it is killed.
_CLIENT: Final = """
import sys
from qonduit_client import Client
with Client(sys.argv[1]) as client:
    while True:
        for event in client.run(sys.argv[2], shots=10).events():
            print(event.sequence, flush=True)
"""


class Wrong(AssertionError):
    """A broken guarantee."""


@dataclass
class Tally:
    """Counters shared by all actors."""

    ended: Counter[str] = field(default_factory=Counter)
    events: int = 0
    resumed: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, *, state: str = "", events: int = 0, resumed: int = 0, killed: str = "", wrong: str = "") -> None:
        """Count something."""
        with self._changed:
            self.events += events
            self.resumed += resumed
            if state:
                self.ended[state] += 1
            if killed:
                self.killed[killed] += 1
            if wrong:
                self.wrong.append(wrong)
            self._changed.notify_all()

    def wait_for_jobs(self, number: int, over: threading.Event) -> bool:
        """Wait until this number of jobs has ended; return False if the round ends first."""
        with self._changed:
            while self.ended.total() < number:
                if over.is_set():
                    return False
                self._changed.wait(0.2)
        return not over.is_set()


class User:
    """A user who submits, watches, resumes, cancels, reruns and deletes jobs of all kinds."""

    def __init__(self, target: str, tally: Tally, seed: int) -> None:
        self._target = target
        self._tally = tally
        self._random = random.Random(seed)

    def work(self, over: threading.Event) -> None:
        """Run one job after another to its end until the round is over."""
        with Client(self._target, timeout=_WAIT_SECONDS) as client:
            while not over.is_set():
                try:
                    self._job(client)
                except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the soak is for
                    self._tally.note(wrong=f"{type(error).__name__}: {error}")

    def _job(self, client: Client) -> None:
        draw = self._random
        programs, device, shots = self._choice()
        request_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        job = client.run(programs, device, shots, language=self._language(programs), request_id=request_id)
        if draw.random() < 0.2:
            again = client.run(programs, device, shots, language=self._language(programs), request_id=request_id)
            if (again.id, again.deduplicated) != (job.id, True):
                raise Wrong(f"the repeated request of job {job.id} made job {again.id}")
        if draw.random() < 0.15:
            job.cancel()
        final = self._follow(job)
        self._check(job, final, len(programs), shots)
        if draw.random() < 0.1:
            rerun = client.rerun(job.id)
            self._check(rerun, self._follow(rerun), len(programs), shots)
            client.delete_job(rerun.id)
        client.delete_job(job.id)

    def _choice(self) -> tuple[list[str], str, int]:
        draw = self._random
        device = draw.choices(DEVICES, weights=(6, 1, 1))[0]
        kinds = {"bell": 8, "some": 4, "many": 1, "wide": 1, "long": 1, "broken": 1, "other": 2}
        kind = draw.choices(list(kinds), weights=list(kinds.values()))[0]
        if kind == "some":
            return [layered(draw.randint(2, 6), 3, seed=draw.randrange(10**6)) for _ in range(3)], device, 100
        if kind == "many":
            return [layered(3, 2, seed=draw.randrange(10**6)) for _ in range(50)], "IBM/aer_simulator", 50
        if kind == "wide":  # thousands of outcomes
            return [_SUPERPOSED], "IBM/aer_simulator", 100_000
        if kind == "long":
            return [layered(16, 6, seed=draw.randrange(10**6))], "IBM/aer_simulator", 100
        if kind == "broken":
            return [_BROKEN], device, 10
        if kind == "other":
            return [example_programs.QUIL.replace("DECLARE theta REAL\n", "").replace("theta", "0.7")], device, 100
        return [BELL], device, 100

    def _language(self, programs: list[str]) -> str:
        return "QUIL" if programs[0].startswith("DECLARE") else "QASM2"

    def _follow(self, job: JobHandle) -> JobEvent:
        """Watch a job to its end with interruptions; each event must arrive once, in order."""
        seen = 0
        while True:
            leave_after = self._random.choice((1, 2, 5, 10**9))
            for number, event in enumerate(job.events(after_sequence=seen, timeout=_WAIT_SECONDS), start=1):
                if event.sequence != seen + 1:
                    raise Wrong(f"job {job.id}: event {event.sequence} came after {seen}")
                seen = event.sequence
                if event.state_change.to_state in TERMINAL:
                    self._tally.note(events=seen)
                    return event
                if number >= leave_after:
                    break
            self._tally.note(resumed=1)

    def _check(self, job: JobHandle, final: JobEvent, programs: int, shots: int) -> None:
        state = final.state_change.to_state
        results = job.stored_results()
        of = [result.program_id for result in results]
        if len(of) != len(set(of)):
            raise Wrong(f"job {job.id} has two results of one program")
        if state == JobState.JOB_STATE_SUCCEEDED and len(of) != programs:
            raise Wrong(f"job {job.id} succeeded with {len(of)} results of {programs} programs")
        for result in results:
            if sum(result.counts.values()) != shots:
                raise Wrong(f"job {job.id}: counts add up to {sum(result.counts.values())}, not {shots}")
        self._tally.note(state=JobState.Name(state).removeprefix("JOB_STATE_"))


class Killer:
    """Kill workers, fork servers, clients, machines but the first one, and the broker; never the server.

    Args:
        target: the address of the server.
        server: its process.
        tally: counts the kills.
        seed: of the choices.
        machines: the worker machines; None if the server runs the jobs itself.
    """

    def __init__(self, target: str, server: int, tally: Tally, seed: int, machines: Engine | None = None) -> None:
        self._target = target
        self._server = server
        self._machines = machines
        self._tally = tally
        self._random = random.Random(seed)

    def work(self, over: threading.Event) -> None:
        """Kill a process after each fixed number of ended jobs, until the round is over."""
        client = self._client()
        number = self._tally.ended.total()
        clients_at = number + _JOBS_A_CLIENT
        try:
            while self._tally.wait_for_jobs(number + _JOBS_A_KILL, over):
                number = self._tally.ended.total()
                self._kill_process()
                if number >= clients_at:
                    clients_at = number + _JOBS_A_CLIENT
                    _end(client)
                    self._tally.note(killed="client")
                    client = self._client()
        finally:
            _end(client)

    def _kill_process(self) -> None:
        chance = self._random.random()
        if self._machines is not None and chance < _KILLS_OF_MACHINES:
            machine = self._random.choice(self._machines.pids[1:])
            os.kill(machine, signal.SIGKILL)
            self._machines.replace(machine)
            self._tally.note(killed="machine")
            return
        if self._machines is not None and chance < _KILLS_OF_MACHINES + _KILLS_OF_BROKERS:
            self._machines.restart_broker()
            self._tally.note(killed="broker")
            return
        parents = [self._server] if self._machines is None else self._machines.pids
        forkservers = [forkserver for parent in parents for forkserver in children(parent)]
        workers = [worker for forkserver in forkservers for worker in children(forkserver)]
        kind, chosen = ("forkserver", forkservers) if self._random.random() < 0.1 else ("worker", workers)
        if chosen:
            try:
                os.kill(self._random.choice(chosen), signal.SIGKILL)
            except ProcessLookupError:
                return
            self._tally.note(killed=kind)

    def _client(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _CLIENT, self._target, BELL], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def children(pid: int) -> list[int]:
    """Return a process's children; an empty list if it has ended."""
    try:
        return [int(x) for task in Path(f"/proc/{pid}/task").iterdir() for x in (task / "children").read_text().split()]
    except OSError:
        return []


def together(works: list[Callable[[threading.Event], None]], seconds: float) -> None:
    """Run all actors at once for this many seconds, and wait until each has finished."""
    over = threading.Event()
    threads = [threading.Thread(target=work, args=(over,)) for work in works]
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
