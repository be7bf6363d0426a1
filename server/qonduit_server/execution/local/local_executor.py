# SPDX-License-Identifier: Apache-2.0
"""The executor `local`: the process pool, made from the options that every executor gets."""

from __future__ import annotations

from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.pool import ProcessPool


def make_local_executor(options: ExecutorOptions) -> ProcessPool:
    """Make a process pool; nothing is started yet."""
    return ProcessPool(
        options.providers,
        options.workers,
        pythons=options.provider_python,
        memory_limit_bytes=options.address_space_bytes,
        memory_bytes=options.memory_bytes,
        program=options.worker_arguments,
        stderr=options.stderr,
        server=options.server,
        environment=options.environment,
    )
