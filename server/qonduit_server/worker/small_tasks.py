# SPDX-License-Identifier: Apache-2.0
"""Small tasks of different jobs whose circuits run in one call of the SDK; each keeps its events, seed and failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.v1.job_pb2 import JobType
from qonduit_server.errors import RunError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.provider import SmallRun
from qonduit_server.worker.preparation import Environment, Preparation
from qonduit_server.worker.reporting import Reporter

_TYPES: Final = (JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER)
#: Options that need more than one run of one circuit.
_MORE_RUNS: Final = ("parameter_sets", "stop_when")


def small_run(task: Task, environment: Environment) -> SmallRun | None:
    """Return the run of a task that may share a call with others; None if it may not.

    A task whose program is not in the cache may not: reading it takes an unknown time, and tasks that have begun
    cannot go to another worker.
    """
    provider: Any = environment.provider
    if not hasattr(provider, "is_small") or not _has_one_run(task):
        return None
    cached = Preparation(task, environment, Reporter(task, _drop)).cached(0)
    if cached is None or not provider.is_small(task.device, cached.compiled):
        return None
    return SmallRun(cached.compiled, task.spec.shots, task.spec.seed)


def run_small(environment: Environment, device: str, runs: Sequence[SmallRun]) -> Sequence[Outcome | RunError | None]:
    """Run circuits of several tasks in one call; None in place of an outcome: the task must run alone."""
    provider: Any = environment.provider
    try:
        outcomes: Sequence[Outcome | RunError | None] = provider.run_small(device, runs)
    except Exception:  # noqa: BLE001 - whatever the SDK does with one of them, the others have outcomes of their own
        return [None] * len(runs)
    return outcomes


def _has_one_run(task: Task) -> bool:
    spec: JobSpec = task.spec
    return (
        not task.credential
        and len(task.programs) == 1
        and not (task.translate_to or task.analyze_only or task.check_only or task.compile_only)
        and spec.type in _TYPES
        and not spec.program_options
        and not spec.sampler.exact
        and not any(spec.HasField(field) for field in _MORE_RUNS)
    )


def _drop(event: TaskEvent) -> None:
    """Drop an event: nothing runs yet."""
