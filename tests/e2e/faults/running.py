# SPDX-License-Identifier: Apache-2.0
"""A client process that runs a job in one call and writes down each event that it took: to be killed.

It is started with HOST:PORT, its request comes on standard input, and each event leaves as a line of hexadecimal.
"""

from __future__ import annotations

import os
import sys

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_service_pb2 import RunJobRequest, RunJobResponse
from qonduit_client.errors import ServerUnavailable
from qonduit_client.requests import Request
from qonduit_client.retry import Retry
from qonduit_client.transport import Transport


def take(event: JobEvent) -> None:
    """Write an event down: from now on this client has it."""
    print(event.SerializeToString().hex(), flush=True)


def main() -> int:
    """Run the job; returns 75 when the server is away."""
    request = RunJobRequest.FromString(sys.stdin.buffer.read())
    transport = Transport(sys.argv[1], timeout=100, connect_timeout=5, retry=Retry())
    try:
        for response in transport.stream(Request("JobService/RunJob", request, RunJobResponse), timeout=100):
            if response.event.WhichOneof("event") != "heartbeat":
                take(response.event)
    except ServerUnavailable:
        return os.EX_TEMPFAIL
    finally:
        transport.close()
    return os.EX_OK
