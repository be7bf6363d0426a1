# SPDX-License-Identifier: Apache-2.0
"""The seam between the dispatcher and whatever runs tasks: this machine's processes, or an engine on many machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from qonduit.execution.v1.task_pb2 import Task, TaskEvent


class LossKind(Enum):
    """Why a task ended without a `finished` event."""

    DIED = "died"  #: the process that ran it died
    CANCELLED = "cancelled"  #: `cancel` was called
    TIME_LIMIT = "time limit"  #: it ran longer than its time limit
    STOPPED = "stopped"  #: not its fault: it can be run again without being counted against it


@dataclass(frozen=True)
class Loss:
    """How a task was lost.

    Attributes:
        kind: why.
        message: for people; names what is known, for example the signal.
        pid: the process that had the task; 0 when none had it.
    """

    kind: LossKind
    message: str
    pid: int = 0


class Listener(Protocol):
    """Who hears of tasks. Called in one thread of the executor, one call after another; must be quick."""

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Something happened to tasks, in order. After `finished`, nothing more is said about a task."""

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """A task ended without a `finished` event. Nothing more is said about it."""

    def capacity_changed(self) -> None:
        """More tasks may be wanted than before."""


class Executor(Protocol):
    """Runs tasks. Each submitted task ends in exactly one of: a `finished` event, a loss."""

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""

    def capacity(self) -> Mapping[str, int]:
        """How many more tasks are wanted now, by provider name. More may be submitted; they wait."""

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run these. No two of them at once may be the same attempt at the same job."""

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a task, running or not. Does nothing when it has ended."""

    def stop(self, grace: float) -> None:
        """End everything; what still runs is lost as STOPPED. Processes get `grace` seconds before they are killed."""
