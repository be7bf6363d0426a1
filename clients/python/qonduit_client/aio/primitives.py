# SPDX-License-Identifier: Apache-2.0
"""The estimator and the sampler of the client for asyncio."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Unpack, overload

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit_client import primitive_requests
from qonduit_client.aio.job import JobHandle
from qonduit_client.aio.transport import Transport
from qonduit_client.handle import only
from qonduit_client.observables import ObservableLike
from qonduit_client.parameter_values import ParameterValues
from qonduit_client.primitive_requests import EstimateOptions, JobOptions, SampleOptions
from qonduit_client.primitives import DEFAULT_DEVICE
from qonduit_client.program_messages import Program
from qonduit_client.requests import Request
from qonduit_client.resumable_stream import RunStream
from qonduit_client.samples import Sample

if TYPE_CHECKING:
    from qonduit_client.estimates import Estimate


class Primitives:
    """The base class of the client with the calls for estimators and samplers."""

    _transport: Transport

    async def estimate(
        self,
        program: Program | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        *,
        timeout: float | None = None,
        **options: Unpack[EstimateOptions],
    ) -> Estimate:
        """Estimate the expectation values of observables and wait for them; see `qonduit_client.Client.estimate`."""
        request = primitive_requests.estimate(program, observables, device, **options)
        job = await self._ran(request, options, timeout)
        return await job.estimate(timeout)

    async def submit_estimate(
        self,
        program: Program | Iterable[Program] | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        **options: Unpack[EstimateOptions],
    ) -> JobHandle:
        """Queue a job that estimates observables; see `qonduit_client.Client.submit_estimate`."""
        return await self._submitted(primitive_requests.estimate(program, observables, device, **options))

    async def check_estimate(
        self,
        program: Program | Iterable[Program] | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        **options: Unpack[EstimateOptions],
    ) -> CreateJobResponse:
        """Read and compile the job that `submit_estimate` would create, without running or storing anything.

        Returns and raises as `check`.
        """
        options["validate_only"] = True
        return await self._transport.call(primitive_requests.estimate(program, observables, device, **options))

    @overload
    async def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: None = None,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample: ...

    @overload
    async def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> list[Sample]: ...

    async def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample | list[Sample]:
        """Sample the outcomes of a program and wait for them; see `qonduit_client.Client.sample`."""
        request = primitive_requests.sample(program, device, parameter_values=parameter_values, **options)
        job = await self._ran(request, options, timeout)
        found = await job.samples(timeout)
        return found if parameter_values is not None else only(found, job.id)

    async def submit_sample(
        self,
        program: Program | Iterable[Program] | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        **options: Unpack[SampleOptions],
    ) -> JobHandle:
        """Queue a job that samples programs; see `qonduit_client.Client.submit_sample`."""
        return await self._submitted(
            primitive_requests.sample(program, device, parameter_values=parameter_values, **options)
        )

    async def check_sample(
        self,
        program: Program | Iterable[Program] | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        **options: Unpack[SampleOptions],
    ) -> CreateJobResponse:
        """Read and compile the job that `submit_sample` would create; as `check_estimate`."""
        options["validate_only"] = True
        return await self._transport.call(
            primitive_requests.sample(program, device, parameter_values=parameter_values, **options)
        )

    async def _ran(self, request: Request[CreateJobResponse], options: JobOptions, timeout: float | None) -> JobHandle:
        """Create a job and wait for it, on one stream; see `qonduit_client.primitives.Primitives._ran`."""
        if options.get("request_id") or (timeout is not None and timeout <= 0):
            return await self._submitted(request)
        job = JobHandle(self._transport, 0, request_id=request.message.request_id)
        stream = RunStream(self._transport, request, timeout)
        async with aclosing(self._transport.resumed(stream)) as events:
            async for event in events:
                job.receive(event)
        return job

    async def _submitted(self, request: Request[CreateJobResponse]) -> JobHandle:
        answer = await self._transport.call(request)
        return JobHandle(
            self._transport,
            answer.job.id,
            known=answer.job,
            request_id=request.message.request_id,
            deduplicated=answer.deduplicated,
        )
