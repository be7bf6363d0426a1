# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio: the same names and arguments, to be awaited.

    from qonduit_client.aio import Client

    async with Client("127.0.0.1:50051") as client:
        job = await client.run('OPENQASM 3; ...', device="IBM/aer_simulator", shots=1000)
        async for event in job.events():
            print(event)
        print((await job.result()).counts)

What asks the server is a method in both clients, and awaited here: `await job.state()`. Events are taken with
`async for`, lists that are read page by page with `async for` or `await`.
"""

from __future__ import annotations

from qonduit_client.aio.client import Client
from qonduit_client.aio.job import JobHandle

__all__ = ["Client", "JobHandle"]
