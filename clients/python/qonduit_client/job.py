# SPDX-License-Identifier: Apache-2.0
"""A handle on one job: follow its events across broken connections, wait for it, read its results, cancel it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client import notebook, requests
from qonduit_client.buffer import read
from qonduit_client.handle import (
    Handle,
    by_program,
    client_data_of,
    ended,
    estimates_of,
    inputs_of,
    only,
    parameter_sets_of,
    succeeded,
)
from qonduit_client.result import Result
from qonduit_client.resumable_stream import EventStream, late
from qonduit_client.samples import Sample
from qonduit_client.schedule import Schedule
from qonduit_client.states import TERMINAL as TERMINAL
from qonduit_client.states import state_name as state_name
from qonduit_client.transport import Transport

if TYPE_CHECKING:
    from qonduit_client.estimates import Estimate


class JobHandle(Handle):
    """One job on a server. A notebook displays it as a live progress bar.

    Attributes are local; every method calls the server.
    """

    def __init__(self, transport: Transport, job_id: int, **known: Any) -> None:
        super().__init__(transport, job_id, **known)
        self._transport = transport

    def _ipython_display_(self) -> None:
        notebook.show(self, self._known)

    def job(self) -> Job:
        """Return the current job from the server."""
        return self._job(None)

    def state(self) -> str:
        """Return the job's current state: "QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED" or "CANCELLED"."""
        return state_name(self.job().state)

    @property
    def status(self) -> str:
        """Deprecated: call `state()`."""
        warnings.warn("JobHandle.status is deprecated: call state()", DeprecationWarning, stacklevel=2)
        return self.state()

    def events(
        self,
        *,
        after_sequence: int = 0,
        after_epoch: int = 0,
        timeout: float | None = None,
        heartbeat: float | None = None,
        partial_results: bool = False,
        queue_updates: bool = False,
    ) -> Iterator[JobEvent]:
        """Yield past and future events, each once and in order, until the job has ended.

        A broken stream resumes after the last event, any number of times, as long as the server comes back within the
        client's timeout. Leaving the loop early does not affect the job.

        Args:
            after_sequence: skip the events up to this one.
            after_epoch: the `log_epoch` of that event; 0 on a server that was never restored from a backup.
            timeout: seconds until `TimedOut`; by default unlimited.
            heartbeat: seconds without an event (0.05 to 3600) after which to yield a heartbeat, an event without a
                sequence number; by default no heartbeats.
            partial_results: also yield `partial_result` events, results as they are so far. They have no sequence
                number, and a stream may miss some.
            queue_updates: also yield `queue_change` events, the place in the queue; likewise.

        Raises:
            NotFound: the job does not exist or was deleted.
            PreconditionFailed: the server was restored from a backup that lacks the last event (`LOG_RESTORED`).
            TimedOut: the job has not ended in time; it continues.
            ServerUnavailable: the server did not come back in time.
            ClientClosed: the client was closed.
        """
        return self._received(
            after_sequence=after_sequence,
            after_epoch=after_epoch,
            timeout=timeout,
            heartbeat=heartbeat,
            partial_results=partial_results,
            queue_updates=queue_updates,
        )

    def wait(self, timeout: float | None = None, *, final_results: bool = False) -> Job:
        """Wait until the job has ended, in any state, and return it.

        Args:
            timeout: seconds; 0 only checks. By default unlimited.
            final_results: also receive the results with the last event, if they are few and small, so that
                `stored_results` makes no call. `results` does so.

        Raises:
            TimedOut: the job has not ended in time; it continues.
        """
        clock = self.clock
        started = clock()
        if timeout is not None and timeout <= 0 and not ended(self._known):
            self.job()
        job = self._known or self._job(timeout)
        if ended(job):
            return job
        left = None if timeout is None else timeout - (clock() - started)
        if left is not None and left <= 0:
            raise late(self.id, timeout)
        for _ in self._received(
            after_sequence=job.last_sequence,
            after_epoch=job.log_epoch,
            timeout=left,
            final_results=final_results,
            omit_intermediate=True,
        ):
            pass
        return self._known if self._known is not None and ended(self._known) else self.job()

    def results(
        self, timeout: float | None = None, *, points: range | None = None, program: int | None = None
    ) -> list[Result]:
        """Wait for the job and return one result per program and point, in the order of programs and points.

        A requested statevector is part of its program's result.

        Args:
            timeout: seconds to wait for the job; the client's timeout limits reading the results.
            points: return only results of these points, as range(0, 100), of a job with parameter values.
            program: return only results of the program with this index.

        Raises:
            JobFailed: the job failed. `stored_results` returns the results of programs that ran.
            JobCancelled: the job was cancelled.
            TimedOut: the job has not ended in time; it continues.
            ValueError: points is not a range of consecutive points.
        """
        succeeded(self.wait(timeout, final_results=points is None and program is None))
        return by_program(self.stored_results(points=points, program=program))

    def result(self, timeout: float | None = None) -> Result:
        """Wait for a job of one program and return its result.

        Raises:
            ValueError: the job has several results: use `results`.
            JobFailed, JobCancelled, TimedOut: as in `results`.
        """
        return only(self.results(timeout), self.id)

    def estimates(self, timeout: float | None = None) -> list[Estimate]:
        """Wait for a job of the type ESTIMATOR and return an `Estimate` of each program; raises as `results`."""
        found = self.results(timeout)
        return estimates_of(found, self._known or self.job())

    def estimate(self, timeout: float | None = None) -> Estimate:
        """Wait for an estimator of one program and return its estimates; raises as `result`."""
        return only(self.estimates(timeout), self.id)

    def samples(
        self, timeout: float | None = None, *, points: range | None = None, program: int | None = None
    ) -> list[Sample]:
        """Wait for a job of the type SAMPLER and return a `Sample` of each program and point, as `results`."""
        return [Sample(each) for each in self.results(timeout, points=points, program=program)]

    def stored_results(self, *, points: range | None = None, program: int | None = None) -> list[Result]:
        """Return the results stored so far, without waiting, in any state of the job; arguments as in `results`."""
        source = partial(read, self._transport)
        if self._final is not None and points is None and program is None:
            return [Result(message, source) for message in self._final]
        pages = requests.results(self.id, points, program)
        return [Result(message, source) for message in self._transport.items(pages)]

    def inputs(self) -> dict[str, Any]:
        """Return the values of the job's inputs, of any size.

        Raises:
            NotFound: the job does not exist or was deleted.
        """
        job = self.job()
        return inputs_of(job, read(self._transport, job.inputs_reference))

    def parameter_sets(self) -> ParameterSets:
        """Return the job's parameter values, of any size; raises as `inputs`."""
        job = self.job()
        return parameter_sets_of(job, read(self._transport, job.parameter_sets_reference))

    def client_data(self) -> bytes:
        """Return the client data of the job, b"" without; raises as `inputs`."""
        job = self._known if self._known and self._known.HasField("client_data_reference") else self.job()
        return client_data_of(job, read(self._transport, job.client_data_reference))

    def update(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        schedule: Schedule | None = None,
    ) -> Job:
        """Change the job while it waits in the queue, and return it. An argument that is not passed keeps its value.

        Args:
            name: the new name.
            labels: the new labels, in place of all old ones.
            schedule: "priority", "not_before" and "expires_at", as of `Client.run`.

        Raises:
            PreconditionFailed: the job has started.
            ValueError, TypeError: the schedule is invalid.
        """
        self._known = self._transport.call(requests.update_job(self.id, name, labels, schedule)).job
        return self._known

    def cancel(self) -> Job:
        """Cancel the job and return it: CANCELLING, or unchanged if it has ended."""
        self._known = self._transport.call(requests.cancel(self.id)).job
        return self._known

    def _received(self, **options: Any) -> Iterator[JobEvent]:
        """Yield the events of a stream, whose options are those of `EventStream`, after receiving each."""
        with closing(self._transport.resumed(EventStream(self._transport, self.id, **options))) as events:
            for event in events:
                self.receive(event)
                yield event

    def _job(self, timeout: float | None) -> Job:
        self._known = self._transport.call(requests.job(self.id), timeout=timeout).job
        return self._known
