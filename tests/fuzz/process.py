# SPDX-License-Identifier: Apache-2.0
"""A real server with small limits and sample data, ready to be fuzzed; its log is checked at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.fuzz.messages import Known
from tests.fuzz.server_fixture import fill_server
from tests.fuzz.surface import faults
from tests.server_process import Server, serving

#: Settings of the server: small limits, so that each is reached.
SMALL: Final = {
    "providers": "IBM",
    "workers": "1",
    "max_request_bytes": "400000",
    "max_program_bytes": "100000",
    "max_programs": "20",
    "max_shots": "2000",
    "max_job_seconds": "5",
    "max_task_memory_bytes": str(1024**3),
    "max_queued_jobs": "100",
}
_WAIT: Final = 60.0


@contextmanager
def fuzzed_server(folder: Path, database: str = "") -> Iterator[tuple[Server, grpc.Channel, Known]]:
    """Start a server with sample data; after it has ended, check its log.

    Raises:
        AssertionError: the log contains a fault.
    """
    log = folder / "log.jsonl"
    with serving(database or f"sqlite:///{folder / 'qonduit.sqlite3'}", log=log, **SMALL) as running:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(running.target, options=options) as channel:

            def finish(ids: list[int]) -> None:
                for job_id in ids:
                    list(JobServiceStub(channel).WatchJob(job_service.WatchJobRequest(job_id=job_id), timeout=_WAIT))

            yield running, channel, fill_server(channel, finish)
    with log.open() as lines:
        found = faults(lines)
    assert not found, "\n".join(found[:5])
