# SPDX-License-Identifier: Apache-2.0
"""A handle on one job, for asyncio."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import Context
from typing import Any, Final

from qonduit.v1 import result_pb2
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit_client import notebook, requests
from qonduit_client.aio.transport import Transport
from qonduit_client.buffer import BufferStream
from qonduit_client.errors import QonduitError
from qonduit_client.handle import Handle, by_program, ended, inputs_of, only, succeeded
from qonduit_client.result import Result
from qonduit_client.resumable_stream import EventStream, late
from qonduit_client.states import TERMINAL, state_name

_PIECE: Final = 1 << 20


class JobHandle(Handle):
    """One job on a server. In a notebook it shows itself as a live progress bar.

    Attributes are what the handle knows; every method asks the server and is awaited.
    """

    def __init__(self, transport: Transport, job_id: int, **known: Any) -> None:
        super().__init__(transport, job_id, **known)
        self._transport = transport
        self._bars: set[asyncio.Task[None]] = set()

    def _ipython_display_(self) -> None:
        bar = notebook.Bar(self.id, self._known)
        update = notebook.display(bar)
        if not ended(self._known):
            # In a context of its own: what is shown later is part of the cell that runs then, as it is with threads.
            task = asyncio.get_running_loop().create_task(self._move(bar, update), context=Context())
            self._bars.add(task)  # the loop itself does not keep it
            task.add_done_callback(self._bars.discard)

    async def job(self) -> Job:
        """Asks the server for the job as it is now."""
        return await self._job(None)

    async def state(self) -> str:
        """Ask for the job's state: "QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED" or "CANCELLED"."""
        return state_name((await self.job()).state)

    async def status(self) -> str:
        """Return `state()` (deprecated)."""
        warnings.warn("JobHandle.status is deprecated: call state()", DeprecationWarning, stacklevel=2)
        return await self.state()

    async def events(
        self, *, after_sequence: int = 0, timeout: float | None = None, heartbeat: float | None = None
    ) -> AsyncIterator[JobEvent]:
        """Yield past and future events, each once and in order, until the job has ended.

        As `qonduit_client.JobHandle.events`. A task that is cancelled in here ends its stream; a loop that is left
        early does so when its iterator is closed (`contextlib.aclosing`) or nobody holds it any more.
        """
        stream = EventStream(
            self._transport, self.id, after_sequence=after_sequence, timeout=timeout, heartbeat=heartbeat
        )
        async with aclosing(self._transport.resumed(stream)) as events:
            async for event in events:
                self._learn(event)
                yield event

    async def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job has ended and return it, however it ended; as `qonduit_client.JobHandle.wait`."""
        clock = self.clock
        begun = clock()
        if timeout is not None and timeout <= 0 and not ended(self._known):
            await self.job()
        job = self._known or await self._job(timeout)
        if ended(job):
            return job
        left = None if timeout is None else timeout - (clock() - begun)
        if left is not None and left <= 0:
            raise late(self.id, timeout)
        events = self.events(after_sequence=job.last_sequence, timeout=left)
        async for event in events:
            if event.state_change.to_state in TERMINAL:
                break
        return self._known if self._known is not None and ended(self._known) else await self.job()

    async def results(self, timeout: float | None = None) -> list[Result]:
        """Wait for the job and return one result a program; as `qonduit_client.JobHandle.results`.

        Large results are fetched as a whole, so that nothing that is asked of a result blocks the event loop.
        """
        succeeded(await self.wait(timeout))
        return by_program(await self.stored_results())

    async def result(self, timeout: float | None = None) -> Result:
        """Wait for a job of one program and return its result; as `qonduit_client.JobHandle.result`."""
        return only(await self.results(timeout), self.id)

    async def stored_results(self) -> list[Result]:
        """Return all results that exist now, without waiting and whatever the job's state; large ones are fetched."""
        return [await self._fetched(message) async for message in self._transport.items(requests.results(self.id))]

    async def inputs(self) -> dict[str, Any]:
        """Return the values that the job was given for the inputs of its programs; as `qonduit_client.JobHandle`."""
        job = await self.job()
        pieces: list[bytes] = []
        if job.HasField("inputs_reference"):
            pieces = [
                piece async for piece in self._transport.resumed(BufferStream(self._transport, job.inputs_reference))
            ]
        return inputs_of(job, pieces)

    async def cancel(self) -> Job:
        """Asks for the job to be cancelled; returns it as CANCELLING, or as it is when it has ended."""
        self._known = (await self._transport.call(requests.cancel(self.id))).job
        return self._known

    async def _job(self, timeout: float | None) -> Job:
        self._known = (await self._transport.call(requests.job(self.id), timeout=timeout)).job
        return self._known

    async def _fetched(self, message: result_pb2.Result) -> Result:
        if not message.HasField("buffer"):
            return Result(message)
        stream = BufferStream(self._transport, message.buffer)
        data = b"".join([piece async for piece in self._transport.resumed(stream)])

        def held(_: result_pb2.BufferReference, offset: int) -> Iterator[bytes]:
            return (data[at : at + _PIECE] for at in range(offset, len(data), _PIECE))

        return await asyncio.to_thread(Result(message, held).load)

    async def _move(self, bar: notebook.Bar, update: Callable[[notebook.Bar], None]) -> None:
        try:
            async for event in self.events(heartbeat=notebook.TICK):
                bar.update(event)
                update(bar)
        except QonduitError as error:
            bar.say(notebook.reason(error))
            update(bar)
