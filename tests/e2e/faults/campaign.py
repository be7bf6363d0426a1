# SPDX-License-Identifier: Apache-2.0
"""A campaign: repeated kills against one database under load, with checks of the invariants during and after it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

import grpc

from qonduit.v1 import deployment_service_pb2 as deployment_calls
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.checking import assert_results, results_of, sound, wait_until_gone, watch
from tests.e2e.faults.crash_clients import CrashClient, CrashClientProcess, ServerAddress
from tests.e2e.faults.engine import Engine
from tests.e2e.faults.points import KillPoint, points_of
from tests.e2e.faults.submitting import SIMULATOR, circuits, new_uuid
from tests.e2e.faults.trap import Trap
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import Server, serving

#: With this many waiting clients, the campaign lets them catch up before the next kill.
_CROWD = 24
#: How many times more clients are started before a point must have been reached.
_BATCHES = 6
_PATIENCE = 100.0


class Campaign:
    """One database, the servers that start and die on it, and their clients.

    Args:
        name: of the database, for output.
        url: of the database.
        folder: for the pipes and the servers' log.
        seed: decides which processes are killed and which jobs are submitted.
        broker: with it, the jobs run on worker machines, and the machines and the broker are killed, too.
    """

    def __init__(self, name: str, url: str, folder: Path, seed: int, broker: RabbitmqBroker | None = None) -> None:
        self.name = name
        self.seed = seed
        self.kills: Counter[str] = Counter()
        self.jobs = 0
        self.events = 0
        self.returns = 0
        self.restarts = 0
        self.points = points_of("local" if broker is None else "celery")
        self._began = time.monotonic()
        # A separate generator, so that the number of clients changes no draw of a kill.
        self._plan = random.Random(f"{seed} {name} plan")
        self._load = random.Random(f"{seed} {name} load")
        self._url = url
        self._log = folder / "log.jsonl"
        self._reports: SimpleQueue[CrashClient | tuple[str, int]] = SimpleQueue()
        self._clients: list[CrashClient] = []
        self._waiting: set[CrashClient] = set()
        self._hits: list[tuple[str, int]] = []
        self._place = ServerAddress()
        self._trap = Trap(folder / "trap", lambda point, pid: self._reports.put((point, pid)), self.points)
        self._engine = None if broker is None else Engine(broker, self._trap.environment, self._log)
        self._life = ExitStack()
        self._server = self._start()

    @property
    def total(self) -> int:
        """Return the number of processes killed so far."""
        return sum(self.kills.values())

    def summary(self) -> str:
        """Return a summary of the kills and checks so far."""
        return (
            f"{self.total} kills, {self.restarts} servers replaced, {self.jobs} jobs and {self.events} events checked, "
            f"clients came back {self.returns} times, {time.monotonic() - self._began:.0f} s"
        )

    def close(self) -> None:
        """Stop the server and disarm all points."""
        self._life.close()
        if self._engine is not None:
            self._engine.close()
        self._trap.close()

    def draw(self, points: list[KillPoint]) -> list[KillPoint]:
        """Return the points in random order."""
        return self._plan.sample(points, len(points))

    def kill_at(self, point: KillPoint) -> None:
        """Arm a point, start clients until a process was killed there, and replace the killed process."""
        number, n = self.total + 1, self._plan.randint(1, point.often)
        try:
            self._kill_at(point, n)
        except (AssertionError, grpc.RpcError, Empty, OSError, RuntimeError) as error:
            raise AssertionError(
                f"seed {self.seed}, {self.name}: kill {number}, call {n} of {point.name} (step {point.step}): {error!r}"
            ) from error

    def finish(self) -> None:
        """Wait until every client is served, then check every guarantee for each."""
        try:
            self._wait(lambda: not self._waiting)
            clients, self._clients = self._clients, []
            for client in clients:
                self._check(client)
            self.jobs += len(clients)
            self._check_nothing_else_is_there()
            assert not (faults := _faults_in(self._log)), faults
        except (AssertionError, grpc.RpcError, Empty) as error:
            raise AssertionError(f"seed {self.seed}, {self.name}: after {self.total} kills: {error!r}") from error

    def _kill_at(self, point: KillPoint, n: int) -> None:
        if len(self._waiting) > _CROWD:
            self._wait(lambda: len(self._waiting) <= _CROWD // 3)
        # A call that stops until the broker is gone, or that kills its process.
        self._trap.arm(point.name, n, action="S" if point.process == "broker" else "K")
        wanted = [point.name]
        if point.process == "forkserver":  # the fork server forks one when a worker has died
            wanted.append("task-not-begun")
            self._trap.arm("task-not-begun")
        for _ in range(_BATCHES):
            self._open_batch(with_process=point.process == "client")
            self._wait(lambda: set(wanted) <= {name for name, _ in self._hits} or not self._waiting)
            if set(wanted) <= {name for name, _ in self._hits}:
                break
        hits, self._hits = self._hits, []
        assert [name for name, _ in hits].count(point.name) == 1, f"the point was never reached: {hits}"
        for name, pid in hits:
            self.kills[name] += 1
            if self._engine is not None and name == point.name and point.process == "broker":
                self._engine.restart_broker(pid)
            elif self._engine is not None and pid in self._engine.pids:
                self._engine.replace(pid)
            elif pid == self._server.process.pid:
                assert self._server.process.wait(100) == -9
                self._life.close()
                self._server = self._start()
                self.restarts += 1
            else:
                wait_until_gone(pid)

    def _start(self) -> Server:
        server = self._life.enter_context(
            serving(
                self._url,
                log=self._log,
                environment=self._trap.environment,
                providers="IBM",
                preload="IBM",
                max_attempts="1000",
                lease_seconds="1",
                drain_seconds="1",
                **(self._engine.settings if self._engine is not None else {}),
            )
        )
        if self._engine is not None:
            self._engine.wait_offered(server.target, SIMULATOR)
        self._place.move(server.target)
        return server

    def _wait(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not happened():
            try:
                report = self._reports.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no progress; {len(self._waiting)} clients wait") from None
            if isinstance(report, CrashClient):
                self._waiting.discard(report)
                if report.fault is not None:
                    raise AssertionError(f"a client of job {report.job_id}: {report.fault!r}") from report.fault
            else:
                self._hits.append(report)

    def _open_batch(self, *, with_process: bool) -> None:
        """Start small jobs, a longer one, one that is cancelled, and one from a client process."""
        chance = self._load
        batch = [
            self._client(1, 0, by_run_job=True),
            self._client(chance.randint(1, 3), 3, by_run_job=False),
            self._client(12, 11, by_run_job=chance.random() < 0.5),
            self._client(8, 12, by_run_job=chance.random() < 0.5, cancel_after=chance.choice((1, 1, 2, 3, 5))),
        ]
        if with_process:
            request = self._request(3, 3)
            batch.append(CrashClientProcess(self._place, request, self._reports.put, self._trap.environment))
        self._clients += batch
        self._waiting.update(batch)
        for client in batch:
            client.start()

    def _client(self, programs: int, qubits: int, *, by_run_job: bool, cancel_after: int = 0) -> CrashClient:
        request = self._request(programs, qubits)
        return CrashClient(self._place, request, self._reports.put, by_run_job=by_run_job, cancel_after=cancel_after)

    def _request(self, programs: int, qubits: int) -> calls.RunJobRequest:
        return calls.RunJobRequest(
            job=Job(shots=self._load.randint(1, 200)),
            device=SIMULATOR,
            deployment=circuits(programs, qubits, 4, first=self._load.randrange(1000)),
            request_id=new_uuid(self._load),
        )

    def _check(self, client: CrashClient) -> None:
        """Check a job's guarantees: its end, its events once and in order, its results once."""
        job = f"job {client.job_id}, request {client.request.request_id}"
        final = sound(client.events)
        assert final.state in client.allowed(), f"{job} is {JobState.Name(final.state)}: {final.failure}"
        assert final.shots == client.request.job.shots
        assert len(final.program_runs) == len(client.request.deployment.programs)
        assert_results(results_of(self._server.target, final.id), final)
        # The events seen in parts, across the kills, equal the stored ones.
        assert list(watch(self._server.target, final.id)) == client.events, job
        self.events += len(client.events)
        self.returns += client.returns

    def _check_nothing_else_is_there(self) -> None:
        """Check that every request created one job and one deployment, however often it was sent."""
        with grpc.insecure_channel(self._server.target) as channel:
            jobs = {job.id: job.state for job in _all_jobs(JobServiceStub(channel))}
            deployments = _count_deployments(DeploymentServiceStub(channel))
        assert len(jobs) == deployments == self.jobs, f"{self.jobs} jobs were asked for: {len(jobs)}, {deployments}"


def _all_jobs(stub: JobServiceStub) -> list[Job]:
    found: list[Job] = []
    request = calls.ListJobsRequest(page_size=1000)
    while True:
        page = stub.ListJobs(request, timeout=100, wait_for_ready=True)
        found += page.jobs
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def _count_deployments(stub: DeploymentServiceStub) -> int:
    found = 0
    request = deployment_calls.ListDeploymentsRequest(page_size=1000)
    while True:
        page = stub.ListDeployments(request, timeout=100, wait_for_ready=True)
        found += len(page.deployments)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def _faults_in(log: Path) -> list[str]:
    """Return the errors in a server's log, ignoring a line that a kill truncated."""
    found: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        if '"level": "error"' in line or '"level":"error"' in line or "Traceback" in line:
            found.append(line[:500])
    return found
