# SPDX-License-Identifier: Apache-2.0
"""Assembles a worker from provider, languages, cache and runner, for the fork server and for engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.provider_pb2 import ProviderAssemblerLanguage
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.worker import loop


@dataclass(frozen=True)
class RunnerOptions:
    """Options of a runner.

    Args:
        python_source: the Python interpreter for each language whose source may be executed.
        cache: the directory of the translation cache.
        cache_bytes: maximum size of that directory; 0 disables the cache.
        read_seconds: time limit for reading one program; 0 means no limit. Enforced in the main thread only.
    """

    python_source: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    cache_bytes: int = 0
    read_seconds: float = 0.0


def describe_provider(provider: SimulatorProvider, options: RunnerOptions | None = None) -> ProviderDescription:
    """Describe a provider, with the languages that this process reads, without importing its SDK."""
    from qonduit_server.languages.registry import readable

    description = provider.describe()
    if not description.provider.supported_languages:
        description.provider.supported_languages.extend(
            ProviderAssemblerLanguage(supported_language=language)
            for language in readable((options or RunnerOptions()).python_source)
        )
    return description


def make_runner(provider: SimulatorProvider | None, options: RunnerOptions | None = None) -> loop.Run:
    """Load a provider's SDK and return a function that runs its tasks one after another in this process.

    An engine decodes `Task` messages, calls the function, and forwards the `TaskEvent` messages that it emits. The
    function returns False when the process must be replaced before it runs another task.

    Args:
        provider: runs programs; None for a process that only translates.
        options: default: no Python source, no cache, no time limit.

    Raises:
        ProviderError: the SDK is not installed.
    """
    # Imported late: a fork server describes its provider before it loads anything.
    from qonduit_server.languages.python.source_runner import PythonSource
    from qonduit_server.languages.registry import Languages
    from qonduit_server.languages.translation_cache import TranslationCache
    from qonduit_server.worker.runner import Runner

    options = options or RunnerOptions()
    cache = TranslationCache(Path(options.cache), options.cache_bytes) if options.cache_bytes else None
    languages = Languages(cache, PythonSource(options.python_source), options.read_seconds)
    runner = Runner(provider, languages)
    runner.load()

    def run(tasks: Sequence[Task], emit: loop.Emit) -> bool:
        for task in tasks:
            runner.run(task, emit)
        return not (languages.interrupted or getattr(provider, "exhausted", False))

    return run
