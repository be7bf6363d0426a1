# SPDX-License-Identifier: Apache-2.0
"""The executor `local`: a process pool with the options of executors."""

from __future__ import annotations

from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.memory_shares import memory_shares
from qonduit_server.execution.local.pool import ProcessPool


def make_local_executor(options: ExecutorOptions) -> ProcessPool:
    """Return a new process pool, which is not started."""
    return ProcessPool(
        options.providers,
        options.workers,
        pythons=options.provider_python,
        memory_limit_bytes=options.address_space_bytes,
        memory_bytes=memory_shares(options).job_bytes,
        program=options.worker_arguments,
        stderr=options.stderr,
        server=options.server,
        environment=options.environment,
        observer=options.observer,
    )
