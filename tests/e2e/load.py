# SPDX-License-Identifier: Apache-2.0
"""Clients that use a server while its database becomes unavailable: submit, watch, list, retry."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.checking import assert_results, results_of, sound
from tests.e2e.faults.submitting import SUCCEEDED, a_job

#: The timeout of every wait here; only a stuck machine exceeds it.
PATIENCE = 60.0
_SUBMITTERS = 4


class Load:
    """Small jobs from several threads, each watched to its end, and a longer one that runs throughout.

    A call refused with UNAVAILABLE is retried unchanged after a moment; a stream that is cut off resumes at its last
    event. Any other error is kept for `check`.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        #: Seconds of the slowest answer, and the number of refusals.
        self.slowest_answer = 0.0
        self.refused = 0
        self.resumed = 0
        self._histories: dict[int, list[JobEvent]] = {}
        self._requests: dict[str, int] = {}
        self._deduplicated = 0
        self._changed = threading.Condition()
        self._answered = 0
        self._over = threading.Event()
        self._channel = grpc.insecure_channel(target)
        self._jobs = JobServiceStub(self._channel)
        self._pool = ThreadPoolExecutor(200)
        self._futures = [self._pool.submit(self._keep_submitting) for _ in range(_SUBMITTERS)]
        self._futures.append(self._pool.submit(self._keep_listing))
        self._futures.append(self._pool.submit(self._submit_without_waiting))
        # Some seconds of work on one worker.
        self._futures.append(self._pool.submit(self._one_job, a_job(60, 14, 8)))

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if kind is None:
            for future in self._futures:
                future.result(PATIENCE)
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._channel.close()

    # Conditions that a test waits for.

    def wait_until_busy(self) -> None:
        """Wait until jobs have ended, and the long one runs."""
        self._wait(lambda: len(self._histories) > 5 and self._answered > 20)

    def wait_until_refused(self) -> None:
        """Wait until calls are refused."""
        seen = self.refused
        self._wait(lambda: self.refused >= seen + _SUBMITTERS)

    def wait_until_served(self) -> None:
        """Wait until submits are answered again."""
        seen = len(self._requests)
        self._wait(lambda: len(self._requests) >= seen + 2 * _SUBMITTERS)

    def keep_running(self, seconds: float) -> None:
        """Keep the load running for this long."""
        assert not self._over.wait(seconds)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition() or self._broken(), PATIENCE), self.summary()
        for future in self._futures:
            if future.done():
                future.result()

    def _broken(self) -> bool:
        return any(future.done() and future.exception() is not None for future in self._futures)

    # Final checks.

    def check(self) -> None:
        """Check that exactly the acknowledged jobs exist, ended well, once, with complete histories."""
        assert len(set(self._requests.values())) == len(self._requests), "two requests gave one job"
        assert set(self._histories) == set(self._requests.values())
        for job_id, seen in self._histories.items():
            final = sound(seen)
            assert final.state == SUCCEEDED, final
            assert_results(results_of(self.target, job_id), final)
        assert {job.id for job in self._all_jobs()} == set(self._histories), "a job exists that no client submitted"

    def attempts(self) -> set[int]:
        """Return how often jobs were started."""
        return {seen[-1].state_change.job.attempt for seen in self._histories.values()}

    def summary(self) -> str:
        """Return a summary of this load."""
        return (
            f"{len(self._requests)} jobs, {self.refused} calls refused, the slowest answer after "
            f"{self.slowest_answer:.2f} s, {self.resumed} streams resumed, {self._deduplicated} submits found made"
        )

    def _all_jobs(self) -> list[Job]:
        found: list[Job] = []
        with grpc.insecure_channel(self.target) as channel:
            token = ""
            while True:
                page = JobServiceStub(channel).ListJobs(calls.ListJobsRequest(page_size=1000, page_token=token))
                found += page.jobs
                token = page.next_page_token
                if not token:
                    return found

    # Clients.

    def _keep_submitting(self) -> None:
        while not self._over.is_set():
            self._one_job(a_job(1, 0, 0))
            self._over.wait(0.02)

    def _submit_without_waiting(self) -> None:
        """Submit jobs that other threads watch: submits continue also when no job ends."""
        following = []
        while not self._over.is_set():
            following.append(self._pool.submit(self._follow, self._submit(a_job(1, 0, 0))))
            self._over.wait(0.2)
        for future in following:
            future.result(PATIENCE)

    def _keep_listing(self) -> None:
        while not self._over.is_set():
            self._retry(lambda: self._jobs.ListJobs(calls.ListJobsRequest(page_size=3), timeout=PATIENCE))
            self._over.wait(0.05)

    def _one_job(self, request: calls.CreateJobRequest) -> None:
        self._follow(self._submit(request))

    def _submit(self, request: calls.CreateJobRequest) -> int:
        request.request_id = str(uuid.uuid4())
        made = self._retry(lambda: self._jobs.CreateJob(request, timeout=PATIENCE))
        with self._changed:
            self._requests[request.request_id] = made.job.id
            self._deduplicated += made.deduplicated
            self._changed.notify_all()
        return int(made.job.id)

    def _retry(self, call: Callable[[], Any]) -> Any:
        """Call until it is answered; each refusal must come soon, with a retry delay."""
        until = time.monotonic() + 2 * PATIENCE
        while True:
            began = time.monotonic()
            try:
                answer = call()
            except grpc.RpcError as error:
                self._note(time.monotonic() - began, refused=True)
                again = retry_after(error)
                assert time.monotonic() < until
            else:
                self._note(time.monotonic() - began, refused=False)
                return answer
            # A tenth of the requested delay: many clients retry sooner than asked.
            threading.Event().wait(again / 10)

    def _note(self, seconds: float, *, refused: bool) -> None:
        with self._changed:
            self.slowest_answer = max(self.slowest_answer, seconds)
            self.refused += refused
            self._answered += not refused
            self._changed.notify_all()

    def _follow(self, job_id: int) -> None:
        seen: list[JobEvent] = []
        until = time.monotonic() + 2 * PATIENCE
        while True:
            after = seen[-1].sequence if seen else 0
            try:
                request = calls.WatchJobRequest(job_id=job_id, after_sequence=after)
                request.heartbeat_interval.seconds = 1
                for reply in self._jobs.WatchJob(request, timeout=PATIENCE):
                    if reply.event.WhichOneof("event") != "heartbeat":
                        seen.append(reply.event)
            except grpc.RpcError as error:
                again = retry_after(error)
                assert time.monotonic() < until
                with self._changed:
                    self.resumed += 1
                threading.Event().wait(again / 10)
            else:
                with self._changed:
                    self._histories[job_id] = seen
                    self._changed.notify_all()
                return


def retry_after(error: grpc.RpcError) -> float:
    """Return the retry delay of an UNAVAILABLE because of the database; raise any other error."""
    assert isinstance(error, grpc.Call)
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    status = rpc_status.from_call(error)
    assert status is not None, error
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "STORE_UNAVAILABLE"
    assert any(detail.Unpack(retry) for detail in status.details)
    return retry.retry_delay.ToTimedelta().total_seconds()


def health(target: str, service: str, wait_for: int | None = None) -> int:
    """Return the health of a service; if requested, wait for a status first."""
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        if wait_for is None:
            return int(stub.Check(request, timeout=PATIENCE).status)
        for response in stub.Watch(request, timeout=PATIENCE):
            if response.status == wait_for:
                return int(response.status)
    raise AssertionError(f"never reported {wait_for}")
