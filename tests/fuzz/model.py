# SPDX-License-Identifier: Apache-2.0
"""A model of jobs, deployments and events as the contract defines them; a state machine compares a server with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import JobState
from qonduit_server.lifecycle import CANCELLED, CANCELLING, FAILED, QUEUED, RUNNING, SUCCEEDED, is_terminal, may

#: The reason a worker reports for a cancelled task.
CANCELLED_REASON: Final = "CANCELLED"


@dataclass(frozen=True)
class Program:
    """A stored program: its id, and the text that jobs run even if its deployment changes."""

    id: int
    text: str


@dataclass
class StoredDeployment:
    """A deployment in its current state."""

    id: int
    name: str | None
    programs: list[Program]
    request_id: str = ""
    body: Any = None


@dataclass
class StoredJob:
    """The expected state of a job and its expected events; `entries` has an entry for each event."""

    id: int
    name: str | None
    shots: int
    deployment: StoredDeployment
    programs: list[Program]
    method: str = "CreateJob"
    request_id: str = ""
    body: Any = None
    state: JobState = QUEUED
    attempt: int = 0
    progress: float = 0.0
    runs: list[JobState] = field(default_factory=list)
    #: The serialized result of each program, once it was read.
    results: dict[int, bytes] = field(default_factory=dict)
    entries: list[tuple[Any, ...]] = field(default_factory=lambda: [("created",)])

    def __post_init__(self) -> None:
        self.runs = [QUEUED] * len(self.programs)

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal state."""
        return is_terminal(self.state)

    @property
    def leased(self) -> bool:
        """Whether a dispatcher holds it."""
        return self.state in (RUNNING, CANCELLING)

    def claim(self) -> None:
        """A dispatcher claims it."""
        self.attempt += 1
        self._move(RUNNING)

    def cancel(self) -> None:
        """Its caller cancels it."""
        if self.state == QUEUED:
            self._settle(CANCELLED)
            self._move(CANCELLED)
        elif self.state == RUNNING:
            self._move(CANCELLING)

    def requeue(self) -> None:
        """Its server or worker was lost, or the dispatcher released it."""
        if self.state == CANCELLING:
            self._settle(CANCELLED)
            self._move(CANCELLED)
        else:
            self.entries.append(("log",))
            self._settle(QUEUED)
            self._move(QUEUED)

    def advance(self, progress: float) -> None:
        """Progress increases; a decrease is not recorded. The end of the job reports the end of the work."""
        if self.progress < progress <= 1.0:
            self.progress = progress
            if progress < 1.0:
                self.entries.append(("progress", progress))

    def start(self, index: int) -> None:
        """A program began."""
        if self.runs[index] == QUEUED:
            self.runs[index] = RUNNING
            self.entries.append(("program", index, RUNNING))

    def succeed(self, index: int) -> None:
        """A program ran. The first outcome stands."""
        if not is_terminal(self.runs[index]):
            self.runs[index] = SUCCEEDED
            self.entries += [("program", index, SUCCEEDED), ("result", self.programs[index].id)]

    def fail(self, index: int) -> None:
        """A program failed. The first outcome stands."""
        if not is_terminal(self.runs[index]):
            self.runs[index] = FAILED
            self.entries.append(("program", index, FAILED))

    def finish(self, reason: str = "") -> None:
        """Its task ended; with a reason, it failed as a whole."""
        if not reason and all(state == SUCCEEDED for state in self.runs):
            self.advance(1.0)
            self._move(SUCCEEDED)
        elif reason == CANCELLED_REASON and self.state == CANCELLING:
            self._settle(CANCELLED)
            self._move(CANCELLED)
        else:
            self._settle(FAILED)
            self._move(FAILED)

    def _settle(self, state: JobState) -> None:
        self.runs = [run if is_terminal(run) else state for run in self.runs]

    def _move(self, state: JobState) -> None:
        assert may(self.state, state)
        self.entries.append(("state", self.state, state))
        self.state = state


def entry(event: JobEvent) -> tuple[Any, ...]:
    """Return an event in the form of `StoredJob.entries`."""
    match event.WhichOneof("event"):
        case "state_change":
            change = event.state_change
            assert (change.job.state, change.job.last_sequence) == (change.to_state, event.sequence)
            return ("state", change.from_state, change.to_state)
        case "progress":
            return ("progress", event.progress.progress)
        case "program_run":
            return ("program", event.program_run.index, event.program_run.state)
        case "result_ready":
            return ("result", event.result_ready.program_id)
        case kind:
            return (kind,)
