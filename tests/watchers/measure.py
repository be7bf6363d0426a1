# SPDX-License-Identifier: Apache-2.0
"""Measure the cost of many watchers on a real server, and check that each receives every event."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CancelJobRequest, CreateJobRequest, GetJobRequest, WatchJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from tests.benchmarks.programs import BELL
from tests.server_process import Server
from tests.watchers.rude import Rude, message

ROOT = Path(__file__).resolve().parents[2]
WAIT = 120.0


@dataclass(frozen=True)
class Size:
    """The sizes of a run."""

    streams: int
    connections: int
    processes: int
    jobs: int = 100
    programs: int = 4
    mute: int = 100
    quiet: int = 20
    probes: int = 200


@dataclass
class Figures:
    """The figures of a run. Times are milliseconds."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    whole: int = 0
    wrong: list[str] = field(default_factory=list)
    threads: int = 0
    resident: int = 0
    mute_cut: int = 0
    quiet_ms: float = 0.0
    left_sockets: int = 0
    left_threads: int = 0

    def note(self, name: str, value: str) -> None:
        """Add a line to the table."""
        self.rows.append((name, value))


class Crowd:
    """A process with many watchers."""

    def __init__(self, target: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.watchers.crowd", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def send(self, command: str, **arguments: object) -> None:
        """Send a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for its response."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the crowd ended with {self.process.wait()}"
        return dict(json.loads(line))

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def crowds(target: str, count: int) -> Iterator[list[Crowd]]:
    """Start a number of processes; kill them at the end."""
    made = [Crowd(target) for _ in range(count)]
    try:
        yield made
    finally:
        for crowd in made:
            crowd.kill()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop the server's workers, but not the server, so that jobs wait without events."""
    workers = server.family()[1:]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def threads_of(server: Server) -> int:
    """Return the number of threads of the server process."""
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def sockets_of(server: Server) -> int:
    """Return the number of open sockets of the server process; connections to its database are files."""
    found = 0
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):
            found += entry.readlink().name.startswith("socket:")
    return found


def cpu_of(server: Server) -> float:
    """Return the CPU seconds of the server process without its workers."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], bool], seconds: float = WAIT) -> float:
    """Wait for another process, for a bounded time; return the seconds it took."""
    begun = time.monotonic()
    pause = threading.Event()
    while not condition():
        assert time.monotonic() - begun < seconds, f"the condition is still false after {seconds:g} s"
        pause.wait(0.01)
    return time.monotonic() - begun


def a_job(programs: int) -> CreateJobRequest:
    """Return the request of a job of Bell programs."""
    request = CreateJobRequest(job=Job(shots=100), device="IBM/aer_simulator")
    for _ in range(programs):
        request.deployment.programs.add(
            quantum_circuit=BELL, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        )
    return request


class Probe:
    """Makes sequential unary calls and measures their durations."""

    def __init__(self, channel: grpc.Channel, job_id: int) -> None:
        jobs, system = JobServiceStub(channel), SystemServiceStub(channel)
        self._calls: dict[str, Callable[[], object]] = {
            "GetServerInfo": lambda: system.GetServerInfo(GetServerInfoRequest(), timeout=WAIT),
            "GetJob": lambda: jobs.GetJob(GetJobRequest(id=job_id), timeout=WAIT),
            "CreateJob": lambda: jobs.CreateJob(a_job(1), timeout=WAIT),
        }

    def run(self, times: int, stop: Callable[[], bool] = lambda: False) -> dict[str, list[float]]:
        """Make each call `times` times, or until `stop` returns True; return milliseconds by method."""
        took: dict[str, list[float]] = {name: [] for name in self._calls}
        for _ in range(times):
            for name, call in self._calls.items():
                begun = time.perf_counter()
                call()
                took[name].append((time.perf_counter() - begun) * 1e3)
            if stop():
                break
        return took


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[int(len(values) * 0.99)] if values else float("nan")


def _note_calls(figures: Figures, when: str, took: dict[str, list[float]], idle: dict[str, list[float]]) -> None:
    for name, values in took.items():
        text = f"p50 {statistics.median(values):.2f} ms, p99 {p99(values):.2f} ms"
        if took is not idle:
            text += f" ({p99(values) / p99(idle[name]):.1f} x idle)"
        figures.note(f"{name}, {when}", text)


def _all(crowd: list[Crowd], command: str, **arguments: object) -> list[dict[str, Any]]:
    for one in crowd:
        one.send(command, **arguments)
    return [one.answer() for one in crowd]


def _open(figures: Figures, what: str, crowd: list[Crowd], jobs: list[int], size: Size, after: int) -> None:
    share = {"streams": size.streams // len(crowd), "channels": size.connections // len(crowd)}
    answers = _all(crowd, "open", jobs=jobs, after=after, **share)
    for answer in answers:
        figures.codes.update(answer["codes"])
    seconds = max(answer["seconds"] for answer in answers)
    figures.note(what, f"{seconds:.2f} s, {size.streams / seconds:.0f} a second")


def measure(server: Server, size: Size) -> Figures:
    """Open, watch, kill, reopen, watch to the end. `server` must allow exactly these streams and the mute ones."""
    figures = Figures()
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(server.target))
        jobs = JobServiceStub(channel)
        # A warm and idle server: the reference of all other figures.
        first = jobs.CreateJob(a_job(1), timeout=WAIT, wait_for_ready=True).job.id
        list(jobs.WatchJob(WatchJobRequest(job_id=first), timeout=WAIT))
        stack.enter_context(freezing := _Freezing(server))
        probe = Probe(channel, first)
        probe.run(20)
        idle = probe.run(size.probes)
        _note_calls(figures, "idle server", idle, idle)
        empty = (server.resident(), sockets_of(server), threads_of(server))
        figures.note("resident, idle", f"{empty[0] / 2**20:.0f} MB")
        watched = [jobs.CreateJob(a_job(size.programs), timeout=WAIT).job.id for _ in range(size.jobs)]
        quiet = [jobs.CreateJob(a_job(1), timeout=WAIT).job.id for _ in range(2 * size.quiet)]

        # Open all streams and kill the clients: all streams must be released, or the server rejects the second run.
        with crowds(server.target, size.processes) as crowd:
            _open(figures, f"{size.streams} opened at once", crowd, watched, size, 0)
        seconds = until(lambda: sockets_of(server) <= empty[1])
        figures.note("all killed: connections gone after", f"{seconds:.2f} s")

        crowd = stack.enter_context(crowds(server.target, size.processes))
        begun = cpu_of(server)
        _open(figures, "all back, resuming after event 1", crowd, watched, size, 1)
        figures.note("CPU an open", f"{(cpu_of(server) - begun) / size.streams * 1e6:.0f} us")
        rude = stack.enter_context(Rude(server.target, window=0))
        for number in range(size.mute):
            request = WatchJobRequest(job_id=watched[number % len(watched)])
            rude.call("/qonduit.v1.JobService/WatchJob", message(request.SerializeToString()))
        mute_since = time.monotonic()
        _note_calls(figures, "all watch, all quiet", probe.run(size.probes), idle)
        figures.quiet_ms = _quiet(figures, server, jobs, quiet[: size.quiet])
        figures.note("threads, all watch", str(threads_of(server)))
        figures.note("resident, all watch", f"{server.resident() / 2**20:.0f} MB")

        # A hundred jobs run, and all streams receive their events.
        _all(crowd, "late")
        begun = cpu_of(server)
        for one in crowd:
            one.send("finish")
        freezing.thaw()
        over = threading.Event()
        busy: dict[str, list[float]] = {}
        prober = threading.Thread(target=lambda: busy.update(probe.run(10_000, over.is_set)))
        prober.start()
        answers = [one.answer() for one in crowd]
        figures.threads, figures.resident = threads_of(server), server.resident()
        spent = cpu_of(server) - begun
        over.set()
        prober.join(WAIT)
        _note_calls(figures, "100 jobs run" if size.jobs == 100 else f"{size.jobs} jobs run", busy, idle)
        events = sum(answer["events"] for answer in answers)
        seconds = max(answer["seconds"] for answer in answers)
        for answer in answers:
            figures.codes.update(answer["codes"])
            figures.whole += answer["whole"]
            figures.wrong += answer["wrong"]
        late = [x for answer in _all(crowd, "late") for x in answer["late"]]
        figures.note("events delivered while they run", f"{events}, {events / seconds:.0f} a second")
        figures.note("  after their time", f"p50 {statistics.median(late) * 1e3:.0f} ms, p99 {p99(late) * 1e3:.0f} ms")
        figures.note("  CPU of the server an event", f"{spent / events * 1e6:.0f} us, jobs and probes included")
        figures.note("threads, jobs run", str(figures.threads))
        figures.note("resident, jobs run", f"{figures.resident / 2**20:.0f} MB")
        figures.mute_cut = len(rude.until_ended(size.mute, WAIT))
        figures.note("never read: cut off", f"{figures.mute_cut} of {size.mute}, {time.monotonic() - mute_since:.1f} s")
    until(lambda: sockets_of(server) <= empty[1])
    figures.left_sockets, figures.left_threads = sockets_of(server) - empty[1], threads_of(server) - empty[2]
    figures.note("left over", f"{figures.left_sockets} sockets, {figures.left_threads} threads more than idle")
    figures.note("resident, all gone", f"{server.resident() / 2**20:.0f} MB")
    return figures


class _Freezing(ExitStack):
    """Stops the server's workers until `thaw`."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.enter_context(frozen(server))

    def thaw(self) -> None:
        """Continue the workers."""
        self.close()


def _quiet(figures: Figures, server: Server, jobs: JobServiceStub, quiet: list[int]) -> float:
    """Return the median milliseconds from an event's time to a watcher of an idle job."""
    with crowds(server.target, 1) as (crowd,):
        _all([crowd], "open", jobs=quiet, streams=len(quiet), channels=1, after=0)
        _all([crowd], "late")
        for job_id in quiet:
            jobs.CancelJob(CancelJobRequest(id=job_id), timeout=WAIT)
        late = [x * 1e3 for answer in _all([crowd], "finish") and _all([crowd], "late") for x in answer["late"]]
    figures.note("an event at a quiet job's watcher", f"p50 {statistics.median(late):.1f} ms, p99 {p99(late):.1f} ms")
    return statistics.median(late)
