# SPDX-License-Identifier: Apache-2.0
"""A client process that runs a job in one call and writes each event that it receives; tests kill it.

Its argument is HOST:PORT, its standard input the request, and it prints each event as a line of hexadecimal.
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


def receive(event: JobEvent) -> None:
    """Write an event: from now on this client has received it."""
    print(event.SerializeToString().hex(), flush=True)


def main() -> int:
    """Run the job; return 75 if the server is unavailable."""
    request = RunJobRequest.FromString(sys.stdin.buffer.read())
    transport = Transport(sys.argv[1], timeout=100, connect_timeout=5, retry=Retry())
    try:
        for response in transport.stream(Request("JobService/RunJob", request, RunJobResponse), timeout=100):
            if response.event.WhichOneof("event") != "heartbeat":
                receive(response.event)
    except ServerUnavailable:
        return os.EX_TEMPFAIL
    finally:
        transport.close()
    return os.EX_OK
