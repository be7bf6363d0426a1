# SPDX-License-Identifier: Apache-2.0
"""Clients: each runs one job and receives all of its events, and retries until it has a final answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.submitting import CANCELLED, FAILED, SUCCEEDED

_PATIENCE = 100.0
_ROOT = Path(__file__).parents[3]


class ServerAddress:
    """The address of the current server: a client that was cut off waits here for the next one."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._generation = 0
        self._target = ""

    def move(self, target: str) -> None:
        """Announce a new server."""
        with self._moved:
            self._generation += 1
            self._target = target
            self._moved.notify_all()

    def later_than(self, generation: int) -> tuple[int, str]:
        """Return the number and the target of a server after that one."""
        with self._moved:
            if not self._moved.wait_for(lambda: self._generation > generation, _PATIENCE):
                raise AssertionError(f"cut off from server {generation}, and no other came")
            return self._generation, self._target


class CrashClient:
    """Submits in one of the two ways and follows the events; each must be the next one.

    Args:
        request: with a unique request id.
        by_run_job: RunJob, else CreateJob and WatchJob.
        cancel_after: requests a cancel after this many events; 0: never.
        over: called when the client has received the end, or failed.
    """

    def __init__(
        self,
        place: ServerAddress,
        request: calls.RunJobRequest,
        over: Callable[[CrashClient], None],
        *,
        by_run_job: bool = True,
        cancel_after: int = 0,
    ) -> None:
        self.request = request
        self.events: list[JobEvent] = []
        self.job_id = 0
        self.fault: BaseException | None = None
        #: How often the client had to reconnect.
        self.returns = 0
        self._place = place
        self._over = over
        self._by_run_job = by_run_job
        self._cancel_after = cancel_after
        self._asked_to_cancel = False
        #: Empty while the answer may have been lost.
        self._cancel_answer: JobState = JobState.JOB_STATE_UNSPECIFIED
        self._thread = threading.Thread(target=self._run, name="crash-client", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def served(self) -> bool:
        """Return whether the client has received the end of its job."""
        return bool(self.events) and self.events[-1].state_change.to_state in (SUCCEEDED, FAILED, CANCELLED)

    def allowed(self) -> set[JobState]:
        """Return the states in which its job may have ended."""
        if not self._asked_to_cancel:
            return {SUCCEEDED}
        if self._cancel_answer in (SUCCEEDED, CANCELLED):  # the job had ended by then
            return {self._cancel_answer}
        return {SUCCEEDED, CANCELLED}

    def _run(self) -> None:
        generation = 0
        try:
            while not self.served:
                generation, target = self._place.later_than(generation)
                try:
                    self._visit(target)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.CANCELLED:  # cut off because of a busy machine
                        generation -= 1
                    elif error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    self.returns += 1
        except BaseException as fault:  # noqa: BLE001 - reported by the campaign
            self.fault = fault
        finally:
            self._over(self)

    def _visit(self, target: str) -> None:
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            jobs = JobServiceStub(channel)
            for event in self._stream(jobs):
                self._receive(event)
                if 0 < self._cancel_after <= len(self.events) and not self._cancel_answer and not self.served:
                    self._asked_to_cancel = True
                    answer = jobs.CancelJob(calls.CancelJobRequest(id=self.job_id), timeout=_PATIENCE)
                    self._cancel_answer = answer.job.state
        assert self.served, "the stream ended with OK before the end of the job"

    def _stream(self, jobs: JobServiceStub) -> Iterator[JobEvent]:
        if self._by_run_job:
            self.request.after_sequence = len(self.events)
            stream = jobs.RunJob(self.request, timeout=_PATIENCE)
        else:
            if not self.job_id:
                created = jobs.CreateJob(_without_watching(self.request), timeout=_PATIENCE)
                self.job_id = created.job.id
            watching = calls.WatchJobRequest(job_id=self.job_id, after_sequence=len(self.events))
            stream = jobs.WatchJob(watching, timeout=_PATIENCE)
        for reply in stream:
            if reply.event.WhichOneof("event") != "heartbeat":
                yield reply.event

    def _receive(self, event: JobEvent) -> None:
        assert event.sequence == len(self.events) + 1, f"event {event.sequence} came after {len(self.events)}"
        self.job_id = self.job_id or event.job_id
        assert event.job_id == self.job_id, "the same request id gave two jobs"
        self.events.append(event)


class CrashClientProcess(CrashClient):
    """A client process that is killed, and started again with the events that it has received.

    Args:
        environment: the variables that arm the points in the process.
    """

    def __init__(
        self,
        place: ServerAddress,
        request: calls.RunJobRequest,
        over: Callable[[CrashClient], None],
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(place, request, over)
        self._environment = environment

    def _visit(self, target: str) -> None:
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            self.request.after_sequence = len(self.events)
            with self._process(target) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(self.request.SerializeToString())
                process.stdin.close()
                for line in process.stdout:
                    self._receive(JobEvent.FromString(bytes.fromhex(line.decode())))
                code = process.wait(_PATIENCE)
            self.returns += code != os.EX_OK
        assert code == os.EX_TEMPFAIL or (code == os.EX_OK and self.served), f"the client ended with {code}"

    @contextmanager
    def _process(self, target: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from tests.e2e.faults.running import main; sys.exit(main())", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict(self._environment),
            cwd=_ROOT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _without_watching(request: calls.RunJobRequest) -> calls.CreateJobRequest:
    return calls.CreateJobRequest(
        job=request.job, device=request.device, deployment=request.deployment, request_id=request.request_id
    )
