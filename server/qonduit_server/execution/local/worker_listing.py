# SPDX-License-Identifier: Apache-2.0
"""The worker processes of a pool, as ListWorkers returns them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qonduit.v1.system_service_pb2 import Worker as WorkerMessage
from qonduit.v1.system_service_pb2 import WorkerState
from qonduit_server.execution.local.worker_processes import ForkServer, Worker

#: The maximum length of a phase, so that a list of thousands of workers fits into one response.
_PHASE_CHARACTERS: Final = 200


def messages_of(providers: Iterable[ForkServer], server: str) -> list[WorkerMessage]:
    """Return the workers without their memory, because reading it takes system calls."""
    return [_message_of(worker, server) for provider in providers for worker in provider.workers.values()]


def _message_of(worker: Worker, server: str) -> WorkerMessage:
    message = WorkerMessage(server=server, provider=worker.provider.name, pid=worker.pid)
    since = worker.head_since
    head = next(iter(worker.held.values()), None)
    if worker.killed:
        message.state = WorkerState.WORKER_STATE_STOPPING
        since = worker.killed_at
    elif not worker.pid:
        message.state = WorkerState.WORKER_STATE_STARTING
    elif head is None:
        message.state = WorkerState.WORKER_STATE_IDLE
    else:
        message.state = WorkerState.WORKER_STATE_BUSY
        since = head.started_at or since
    environment = worker.retired or worker.provider
    if environment.description is not None:
        message.versions.update(environment.description.versions)
    if head is not None:
        message.job_id = head.key[0]
        message.phase = worker.phase[:_PHASE_CHARACTERS]
    message.since.FromMilliseconds(int((time.time() - (time.monotonic() - since)) * 1000))
    return message


def with_memory(workers: list[WorkerMessage]) -> list[WorkerMessage]:
    """Fill in the resident memory of workers, and order them by provider and process id."""
    for worker in workers:
        worker.memory_bytes = resident_bytes(worker.pid) if worker.pid else 0
    return sorted(workers, key=lambda worker: (worker.provider, worker.pid))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it cannot be read."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
