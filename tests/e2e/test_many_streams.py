# SPDX-License-Identifier: Apache-2.0
"""The maximum of streams on one connection: a client opens further connections, and none of its calls waits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from pathlib import Path

from qonduit.v1.job_service_pb2 import WatchJobRequest, WatchJobResponse
from qonduit_client import requests
from qonduit_client.aio.transport import Transport as AioTransport
from qonduit_client.requests import Request
from qonduit_client.transport import Transport
from qonduit_server.rpc.server import MAX_CONCURRENT_STREAMS
from tests.contract.rpc_fixture import bell, rpc_fixture

#: Seconds; only reached when a call hangs.
WAIT = 60.0


def watch(job_id: int) -> Request[WatchJobResponse]:
    """Watch a job without further events."""
    return Request("JobService/WatchJob", WatchJobRequest(job_id=job_id), WatchJobResponse)


def test_a_client_with_the_maximum_of_streams_on_one_connection_still_makes_calls(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc, ExitStack() as stack:
        job_id = next(rpc.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
        transport = stack.enter_context(closing(Transport(rpc.target)))
        for _ in range(MAX_CONCURRENT_STREAMS):
            stream = stack.enter_context(closing(transport.stream(watch(job_id), timeout=10 * WAIT)))
            assert next(stream).event.sequence == 1
        assert transport.call(requests.job(job_id), timeout=WAIT).job.id == job_id


def test_so_does_the_asynchronous_client(tmp_path: Path) -> None:
    async def use(target: str, job_id: int) -> None:
        async with AsyncExitStack() as stack:
            transport = AioTransport(target)
            stack.push_async_callback(transport.close)
            streams = [
                await stack.enter_async_context(aclosing(transport.stream(watch(job_id), timeout=10 * WAIT)))
                for _ in range(MAX_CONCURRENT_STREAMS)
            ]
            firsts = await asyncio.gather(*(anext(stream) for stream in streams))
            assert {first.event.sequence for first in firsts} == {1}
            assert (await transport.call(requests.job(job_id), timeout=WAIT)).job.id == job_id

    with rpc_fixture(tmp_path) as rpc:
        job_id = next(rpc.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
        asyncio.run(use(rpc.target, job_id))
