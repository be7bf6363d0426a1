# SPDX-License-Identifier: Apache-2.0
"""Assembles a worker from provider, languages, cache and runner, for the fork server and for engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.provider_pb2 import ProviderAssemblerLanguage
from qonduit_server.providers.provider import SimulatorProvider, SmallRun
from qonduit_server.worker import loop

if TYPE_CHECKING:
    from qonduit_server.worker.runner import Runner


@dataclass(frozen=True)
class RunnerOptions:
    """Options of a runner.

    Args:
        python_source: the Python interpreter for each language whose source may be executed.
        python_environments: the Python interpreter of each environment for server programs, by its name.
        cache: the directory of the translation cache.
        cache_bytes: maximum size of that directory; 0 disables the cache.
        read_seconds: time limit for reading one program; 0 means no limit. Enforced in the main thread only.
    """

    python_source: Mapping[str, str] = field(default_factory=dict)
    python_environments: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    cache_bytes: int = 0
    read_seconds: float = 0.0


def describe_provider(provider: SimulatorProvider, options: RunnerOptions | None = None) -> ProviderDescription:
    """Describe a provider, with the languages and versions of this process, without importing its SDK."""
    from qonduit_server.languages.registry import readable
    from qonduit_server.worker.provenance import versions_of

    description = provider.describe()
    if not description.provider.supported_languages:
        description.provider.supported_languages.extend(
            ProviderAssemblerLanguage(supported_language=language)
            for language in readable((options or RunnerOptions()).python_source)
        )
    description.versions.update(versions_of(provider, description.devices))
    return description


class TaskRunner:
    """Runs tasks in this process; small ones with one call of the SDK, the others one after another.

    Args:
        runner: runs a task.
        reusable: returns whether the process may run further tasks.
    """

    def __init__(self, runner: Runner, reusable: Callable[[], bool]) -> None:
        self._runner = runner
        self._reusable = reusable
        #: By the identity of the task, which is kept, so that no other task gets it.
        self._runs: dict[int, tuple[Task, SmallRun | None]] = {}

    def joins(self, first: Task, other: Task) -> bool:
        """Return whether the circuits of two tasks may run in one call of the SDK."""
        return (
            first.device == other.device and self._small_run(first) is not None and self._small_run(other) is not None
        )

    def __call__(self, tasks: Sequence[Task], emit: loop.Emit) -> bool:
        """Run tasks; return False if the process must be replaced before it runs another one.

        It must after a task with a credential, which the SDK may have kept.
        """
        with_credential = any(task.credential for task in tasks)
        small = [
            (task, run)
            for task in tasks
            if len(tasks) > 1 and task.device == tasks[0].device and (run := self._small_run(task)) is not None
        ]
        self._runs.clear()
        if len(small) > 1:
            self._runner.run_together(small, emit)
            done = {id(task) for task, _ in small}
            tasks = [task for task in tasks if id(task) not in done]
        for task in tasks:
            self._runner.run(task, emit)
        return self._reusable() and not with_credential

    def _small_run(self, task: Task) -> SmallRun | None:
        found = self._runs.get(id(task))
        if found is None:
            found = self._runs[id(task)] = task, self._runner.small_run(task)
        return found[1]


def make_runner(provider: SimulatorProvider | None, options: RunnerOptions | None = None) -> TaskRunner:
    """Load a provider's SDK and return a function that runs its tasks in this process.

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
    from qonduit_server.process.file_cache import FileCache
    from qonduit_server.worker.runner import Runner

    options = options or RunnerOptions()
    files = FileCache(Path(options.cache), options.cache_bytes) if options.cache_bytes else None
    cache = TranslationCache(files) if files is not None else None
    languages = Languages(cache, PythonSource(options.python_source, options.python_environments), options.read_seconds)
    runner = Runner(provider, languages, files=files)
    runner.load()

    return TaskRunner(runner, lambda: not (languages.interrupted or getattr(provider, "exhausted", False)))
