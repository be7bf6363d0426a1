# SPDX-License-Identifier: Apache-2.0
"""A handle on one job, for asyncio."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from qonduit.v1 import result_pb2
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, OptionReference
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client import notebook, requests
from qonduit_client.aio.transport import Transport
from qonduit_client.buffer import BufferStream
from qonduit_client.errors import QonduitError
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
from qonduit_client.states import state_name

if TYPE_CHECKING:
    from qonduit_client.estimates import Estimate

_CHUNK_BYTES: Final = 1 << 20


class JobHandle(Handle):
    """One job on a server. A notebook displays it as a live progress bar.

    Attributes are local; every method calls the server and must be awaited.
    """

    def __init__(self, transport: Transport, job_id: int, **known: Any) -> None:
        super().__init__(transport, job_id, **known)
        self._transport = transport
        self._bars: set[asyncio.Task[None]] = set()

    def _ipython_display_(self) -> None:
        bar = notebook.Bar(self.id, self._known)
        update = notebook.display(bar)
        if not ended(self._known):
            # In a separate context: later output belongs to the cell that then runs, as with threads.
            task = asyncio.get_running_loop().create_task(self._move(bar, update), context=Context())
            self._bars.add(task)  # the loop holds weak references only
            task.add_done_callback(self._bars.discard)

    async def job(self) -> Job:
        """Return the current job from the server."""
        return await self._job(None)

    async def state(self) -> str:
        """Return the job's current state: "QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED" or "CANCELLED"."""
        return state_name((await self.job()).state)

    async def status(self) -> str:
        """Return `state()` (deprecated)."""
        warnings.warn("JobHandle.status is deprecated: call state()", DeprecationWarning, stacklevel=2)
        return await self.state()

    def events(
        self,
        *,
        after_sequence: int = 0,
        after_epoch: int = 0,
        timeout: float | None = None,
        heartbeat: float | None = None,
        partial_results: bool = False,
        queue_updates: bool = False,
    ) -> AsyncIterator[JobEvent]:
        """Yield past and future events, each once and in order, until the job has ended.

        See `qonduit_client.JobHandle.events`. Cancelling the task ends the stream. A loop that is left early ends it
        when its iterator is closed (`contextlib.aclosing`) or garbage-collected.
        """
        return self._received(
            after_sequence=after_sequence,
            after_epoch=after_epoch,
            timeout=timeout,
            heartbeat=heartbeat,
            partial_results=partial_results,
            queue_updates=queue_updates,
        )

    async def wait(self, timeout: float | None = None, *, final_results: bool = False) -> Job:
        """Wait until the job has ended in any state and return it; see `qonduit_client.JobHandle.wait`."""
        clock = self.clock
        started = clock()
        if timeout is not None and timeout <= 0 and not ended(self._known):
            await self.job()
        job = self._known or await self._job(timeout)
        if ended(job):
            return job
        left = None if timeout is None else timeout - (clock() - started)
        if left is not None and left <= 0:
            raise late(self.id, timeout)
        events = self._received(
            after_sequence=job.last_sequence,
            after_epoch=job.log_epoch,
            timeout=left,
            final_results=final_results,
            omit_intermediate=True,
        )
        async with aclosing(events):
            async for _ in events:
                pass
        return self._known if self._known is not None and ended(self._known) else await self.job()

    async def results(
        self, timeout: float | None = None, *, points: range | None = None, program: int | None = None
    ) -> list[Result]:
        """Wait for the job and return one result per program and point; see `qonduit_client.JobHandle.results`.

        Large results are fetched completely, so that accessing a result never blocks the event loop.
        """
        succeeded(await self.wait(timeout, final_results=points is None and program is None))
        return by_program(await self.stored_results(points=points, program=program))

    async def result(self, timeout: float | None = None) -> Result:
        """Wait for a job of one program and return its result; see `qonduit_client.JobHandle.result`."""
        return only(await self.results(timeout), self.id)

    async def estimates(self, timeout: float | None = None) -> list[Estimate]:
        """Wait for a job of the type ESTIMATOR; see `qonduit_client.JobHandle.estimates`."""
        found = await self.results(timeout)
        return estimates_of(found, self._known or await self.job())

    async def estimate(self, timeout: float | None = None) -> Estimate:
        """Wait for an estimator of one program; see `qonduit_client.JobHandle.estimate`."""
        return only(await self.estimates(timeout), self.id)

    async def samples(
        self, timeout: float | None = None, *, points: range | None = None, program: int | None = None
    ) -> list[Sample]:
        """Wait for a job of the type SAMPLER; see `qonduit_client.JobHandle.samples`."""
        return [Sample(each) for each in await self.results(timeout, points=points, program=program)]

    async def stored_results(self, *, points: range | None = None, program: int | None = None) -> list[Result]:
        """Return the results stored so far, without waiting, in any state of the job; large results are fetched."""
        if self._final is not None and points is None and program is None:
            return [await self._fetched(message) for message in self._final]
        pages = requests.results(self.id, points, program)
        return [await self._fetched(message) async for message in self._transport.items(pages)]

    async def inputs(self) -> dict[str, Any]:
        """Return the values of the job's inputs; see `qonduit_client.JobHandle.inputs`."""
        job = await self.job()
        return inputs_of(job, await self._chunks(job.inputs_reference))

    async def parameter_sets(self) -> ParameterSets:
        """Return the job's parameter values; see `qonduit_client.JobHandle.parameter_sets`."""
        job = await self.job()
        return parameter_sets_of(job, await self._chunks(job.parameter_sets_reference))

    async def client_data(self) -> bytes:
        """Return the client data of the job; see `qonduit_client.JobHandle.client_data`."""
        job = self._known if self._known and self._known.HasField("client_data_reference") else await self.job()
        return client_data_of(job, await self._chunks(job.client_data_reference))

    async def update(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        schedule: Schedule | None = None,
    ) -> Job:
        """Change the job while it waits in the queue; see `qonduit_client.JobHandle.update`."""
        self._known = (await self._transport.call(requests.update_job(self.id, name, labels, schedule))).job
        return self._known

    async def cancel(self) -> Job:
        """Cancel the job and return it: CANCELLING, or unchanged if it has ended."""
        self._known = (await self._transport.call(requests.cancel(self.id))).job
        return self._known

    async def _received(self, **options: Any) -> AsyncGenerator[JobEvent, None]:
        """Yield the events of a stream, whose options are those of `EventStream`, after receiving each."""
        async with aclosing(self._transport.resumed(EventStream(self._transport, self.id, **options))) as events:
            async for event in events:
                self.receive(event)
                yield event

    async def _job(self, timeout: float | None) -> Job:
        self._known = (await self._transport.call(requests.job(self.id), timeout=timeout)).job
        return self._known

    async def _chunks(self, reference: OptionReference) -> list[bytes]:
        """Return the bytes of an option; none if the reference is not set."""
        return [chunk async for chunk in self._transport.resumed(BufferStream(self._transport, reference))]

    async def _fetched(self, message: result_pb2.Result) -> Result:
        if not message.HasField("buffer"):
            return Result(message)
        data = bytearray()  # chunks to join would take the memory twice
        async for chunk in self._transport.resumed(BufferStream(self._transport, message.buffer)):
            data += chunk

        def source(_: result_pb2.BufferReference, offset: int) -> Iterator[bytes]:
            return (bytes(data[at : at + _CHUNK_BYTES]) for at in range(offset, len(data), _CHUNK_BYTES))

        return await asyncio.to_thread(Result(message, source).load)

    async def _move(self, bar: notebook.Bar, update: Callable[[notebook.Bar], None]) -> None:
        try:
            async for event in self.events(heartbeat=notebook.TICK, queue_updates=True):
                bar.update(event)
                update(bar)
        except QonduitError as error:
            bar.set_message(notebook.reason(error))
            update(bar)
