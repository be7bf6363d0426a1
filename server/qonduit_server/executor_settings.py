# SPDX-License-Identifier: Apache-2.0
"""The options of executors and their processes from the settings, for servers and worker machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import StartError
from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.process.core_dumps import forbid_core_dumps
from qonduit_server.process.memory import address_space
from qonduit_server.program_metadata import DEFAULT_ENVIRONMENT
from qonduit_server.provider_environments import offered_providers
from qonduit_server.providers import registry
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit.execution.v1.worker_pb2 import ProviderDescription
    from qonduit.v1.program_service_pb2 import ListLanguagesResponse


def executor_options(
    settings: Settings,
    *,
    server: str = "",
    stderr: StderrLog | None = None,
    on_description: Callable[[ProviderDescription], None] = lambda description: None,
    observer: Observer = UNOBSERVED,
) -> ExecutorOptions:
    """Return the options of an executor.

    Args:
        settings: the operator's settings.
        server: the id of the server.
        stderr: logs the standard error of worker processes.
        on_description: called with each description that changes later.
        observer: receives the ends of worker processes.

    Raises:
        StartError: a setting cannot be used.
    """
    names = offered_providers(settings)
    if unknown := [name for name in names if name not in registry.names()]:
        raise StartError(f"unknown provider {', '.join(unknown)}; known providers: {', '.join(registry.names())}")
    return ExecutorOptions(
        providers=names,
        workers=settings.workers,
        worker_arguments=forkserver(settings),
        provider_python=settings.provider_python,
        address_space_bytes=address_space(settings.max_task_memory_bytes),
        memory_bytes=settings.max_memory_bytes,
        task_memory_bytes=settings.max_task_memory_bytes,
        server=server,
        stderr=stderr,
        broker=settings.broker,
        broker_ca=settings.broker_ca,
        worker_keys=_worker_keys(settings),
        on_description=on_description,
        observer=observer,
    )


def remote_providers(settings: Settings) -> tuple[str, ...]:
    """Return the names of the providers whose devices are at a vendor."""
    offered = offered_providers(settings)
    return tuple(name for name in registry.remote_names() if name in offered)


def forkserver(settings: Settings) -> tuple[str, ...]:
    """Return the Python arguments that start a fork server, with the options of its language readers and writers."""
    languages = {
        "python_source": sources(settings),
        "python_environments": environments(settings),
        "cache": settings.translation_cache,
        "cache_bytes": settings.translation_cache_bytes,
        "read_seconds": settings.max_read_seconds,
    }
    memory = ("--task-memory", str(settings.max_task_memory_bytes))
    fakes = ("--fake-backends", ",".join(settings.fake_backends))
    return ("-m", "qonduit_server.worker.forkserver", "--languages", json.dumps(languages), *memory, *fakes)


def sources(settings: Settings) -> dict[str, str]:
    """Return the Python interpreter of each language with enabled Python source."""
    named = {*settings.enable_python_source, *settings.language_python}
    if not named:
        return {}
    from qonduit_server.languages.python.source_runner import INSTEAD

    if wrong := sorted(named.difference(INSTEAD)):
        raise StartError(f"enable_python_source does not support {', '.join(wrong)}; supported: {', '.join(INSTEAD)}")
    return {each: settings.language_python.get(each, sys.executable) for each in settings.enable_python_source}


def languages_of(settings: Settings) -> ListLanguagesResponse:
    """Return the languages of programs, and the environments for server programs."""
    from qonduit_server.languages.python.source_runner import PythonSource
    from qonduit_server.languages.registry import Languages

    return Languages(sandbox=PythonSource(sources(settings), environments(settings))).describe()


def environments(settings: Settings) -> dict[str, str]:
    """Return the Python interpreter of each environment for server programs; none if they are disabled."""
    python = sources(settings).get("PYTHON")
    return {} if python is None else {DEFAULT_ENVIRONMENT: python, **settings.python_environments}


def _worker_keys(settings: Settings) -> KeyRing:
    """Return the keys that encrypt credentials on their way to worker machines."""
    if not settings.worker_key_file:
        return KeyRing()
    forbid_core_dumps()
    return KeyRing(Path(settings.worker_key_file), setting="worker_key_file")
