# SPDX-License-Identifier: Apache-2.0
"""Runs of server programs, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit_client import program_runs, requests
from qonduit_client.aio.job import JobHandle
from qonduit_client.aio.transport import Transport
from qonduit_client.handle import succeeded
from qonduit_client.job_credential import JobCredential
from qonduit_client.primitives import DEFAULT_DEVICE
from qonduit_client.program_runs import InterimResult, RunOptions, output_of, published
from qonduit_client.resumable_stream import EventStream
from qonduit_client.schedule import Schedule


class ProgramRun(JobHandle):
    """A run of a server program; see `qonduit_client.program_runs.ProgramRun`."""

    async def interim_results(
        self, *, after_sequence: int = 0, timeout: float | None = None
    ) -> AsyncIterator[InterimResult]:
        """Yield published values; see `qonduit_client.program_runs.ProgramRun.interim_results`."""
        stream = EventStream(self._transport, self.id, after_sequence=after_sequence, timeout=timeout)
        async with aclosing(self._transport.resumed(stream)) as events:
            async for event in events:
                self.receive(event)
                if (found := published(event)) is not None:
                    yield found

    async def output(self, timeout: float | None = None) -> Any:
        """Wait for the program and return its output; see `qonduit_client.program_runs.ProgramRun.output`."""
        succeeded(await self.wait(timeout, final_results=True))
        (result,) = await self.stored_results()
        content = bytes(result.buffer.checked_bytes()) if result.buffer is not None else None
        return output_of(result.message, content)

    async def children(self) -> AsyncIterator[Job]:
        """Yield the jobs that the program has submitted, newest first."""
        async for job in self._transport.items(requests.jobs(f"parent_job_id = {self.id}", None, None, "", None)):
            yield job


class ProgramRuns:
    """The base class of `client.programs` with the calls that run server programs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(
        self,
        program: str | int | Path,
        device: str | Device = DEFAULT_DEVICE,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        schedule: Schedule | None = None,
        credential: JobCredential = "",
        project: str | None = None,
        request_id: str | None = None,
    ) -> ProgramRun:
        """Queue a run of a server program; see `qonduit_client.program_runs.ProgramRuns.run`."""
        chosen = RunOptions(name, labels, options, schedule, credential, project, request_id)
        request = program_runs.run(program, device, inputs, chosen)
        answer = await self._transport.call(request)
        return ProgramRun(
            self._transport,
            answer.job.id,
            known=answer.job,
            request_id=request.message.request_id,
            deduplicated=answer.deduplicated,
        )

    def job(self, job_id: int) -> ProgramRun:
        """Return a handle on a run, without a call."""
        return ProgramRun(self._transport, job_id)
