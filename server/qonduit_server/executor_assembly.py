# SPDX-License-Identifier: Apache-2.0
"""The executors that wrap that of workers, and the dispatcher, from the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from qonduit_server.execution.executor import Executor
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.executor_settings import environments, remote_providers
from qonduit_server.observer import Observer
from qonduit_server.provider_environments import vendor_pythons
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit.execution.v1.worker_pb2 import ProviderDescription
    from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
    from qonduit_server.execution.programs.program_executor import ProgramExecutor
    from qonduit_server.execution.remote.remote_executor import RemoteExecutor
    from qonduit_server.store.database import Database


def remote_executor(
    settings: Settings,
    database: Database,
    executor: Executor,
    descriptions: Sequence[ProviderDescription],
    owner: str,
    stderr: StderrLog,
    on_fault: Callable[[], None],
) -> RemoteExecutor | None:
    """Return an executor that also runs jobs at vendors; None if no provider has devices there."""
    providers = remote_providers(settings)
    if not providers:
        return None
    from qonduit_server.execution.remote.remote_executor import RemoteExecutor
    from qonduit_server.execution.remote.vendor_processes import VendorProcesses

    processes = VendorProcesses(vendor_pythons(settings), stderr=stderr)
    found = RemoteExecutor(executor, database, processes, server=owner, providers=providers, on_fault=on_fault)
    for description in descriptions:
        found.adopt(description)
    return found


def program_executor(
    settings: Settings, executor: Executor, owner: str, stderr: StderrLog, on_fault: Callable[[], None]
) -> ProgramExecutor | None:
    """Return an executor that also runs server programs; None if they are disabled."""
    pythons = environments(settings)
    if not pythons:
        return None
    from qonduit_server.execution.programs.program_executor import ProgramExecutor
    from qonduit_server.execution.programs.program_limits import ProgramLimits
    from qonduit_server.execution.programs.program_pool import ProgramPool

    limits = ProgramLimits(settings.max_program_seconds, settings.max_task_memory_bytes, settings.max_program_jobs)
    pool = ProgramPool(settings.max_running_programs, pythons, limits, stderr=stderr, on_fault=on_fault)
    return ProgramExecutor(executor, pool, owner)


def slots(settings: Settings) -> int:
    """Return the number of tasks that run at once; 0 for machines, of which it is not known."""
    return settings.workers if settings.executor == "local" else 0


def make_dispatcher(
    settings: Settings,
    database: Database,
    executor: Executor,
    remote: RemoteExecutor | None,
    owner: str,
    on_fault: Callable[[], None],
    observer: Observer,
) -> Dispatcher:
    """Return a dispatcher, which is not started."""
    from qonduit_server.execution.dispatcher.dispatcher import Dispatcher

    return Dispatcher(
        database,
        executor,
        owner=owner,
        lease=timedelta(seconds=settings.lease_seconds),
        slots=slots(settings),
        max_attempts=settings.max_attempts,
        time_limit_seconds=settings.max_job_seconds,
        memory_limit_bytes=settings.max_task_memory_bytes,
        max_result_bytes=settings.max_result_bytes,
        on_fault=on_fault,
        on_drain=remote.suspend if remote else lambda: None,
        vendor_capacity=remote.vendor_capacity if remote else dict,
        observer=observer,
    )
