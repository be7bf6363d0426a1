# SPDX-License-Identifier: Apache-2.0
"""Progress of running jobs: live bars on a terminal, lines in a pipe, JSON for programs.

A view is a context manager; each followed job has a row, and several threads may update rows.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import QueuePlace, QueueReason
from qonduit_client.cli.as_json import as_dict, as_line
from qonduit_client.cli.colours import wants_color
from qonduit_client.formatting import estimate_text, event_text, failure_text, seconds_between
from qonduit_client.states import state_name

if TYPE_CHECKING:
    from rich.progress import Progress

Row = Callable[[JobEvent], None]

_STYLES: Final = {"SUCCEEDED": "bold green", "FAILED": "bold red", "CANCELLED": "bold yellow"}


class View(Protocol):
    """Shows running jobs.

    Attributes:
        queue_updates: whether its rows show places in the queue.
    """

    queue_updates: bool

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def row(self, label: str) -> Row:
        """Return a new row: a function to call with each event of its job."""
        ...

    def say(self, text: str) -> None:
        """Show a message above or between the rows."""
        ...


def view_for(stream: TextIO | None = None, *, output: str = "table", jobs: int = 1) -> View:
    """Return the view for an output: JSON if requested, live bars on a capable terminal, lines otherwise.

    Args:
        stream: the output; standard output by default.
        output: with "csv", standard output is for results, so live bars are written to standard error.
        jobs: the number of rows.
    """
    stream = stream or sys.stdout
    if output == "json":
        return JsonBoard(stream)
    if output == "csv":
        stream = sys.stderr
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveBoard(stream, jobs)
    return QuietBoard() if output == "csv" else LineBoard(stream, jobs)


class QuietBoard:
    """Shows nothing."""

    queue_updates = False

    def __enter__(self) -> QuietBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def row(self, label: str) -> Row:
        """Return a row that shows nothing."""
        return lambda event: None

    def say(self, text: str) -> None:
        """Drop a message."""


class LineBoard:
    """Prints one line per event, with the seconds since the creation of the job (by the server's clock).

    A place in the queue is printed only for a single job, and when it is half of the last one printed.
    """

    def __init__(self, stream: TextIO, jobs: int = 1) -> None:
        self.queue_updates = jobs == 1
        self._stream = stream
        self._lock = threading.Lock()
        self._rows = 0

    def __enter__(self) -> LineBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def row(self, label: str) -> Row:
        """Return a row that prints a line for each event."""
        start: list[Timestamp] = []
        places: list[QueuePlace] = []
        self._rows += 1

        def show(event: JobEvent) -> None:
            if not start:
                start.append(event.created.created_at if event.HasField("created") else event.event_time)
                if not start[0].seconds:
                    start[0] = event.event_time
            if event.HasField("queue_change"):
                place = event.queue_change.queue
                if not _is_news(place, places[-1] if places else None):
                    return
                places.append(place)
            word, said = event_text(event)
            named = label and (word == "created" or self._rows > 1) and not said.startswith(f"{label},")
            whose = f"{label}  " if named else ""
            self.say(f"{seconds_between(start[0], event.event_time):8.3f} s  {word:<10} {whose}{said}".rstrip())

        return show

    def say(self, text: str) -> None:
        """Print a message on its own line."""
        with self._lock:
            print(text, file=self._stream, flush=True)


class JsonBoard:
    """Prints one event per line, as `{"event": {...}}`, and no messages."""

    queue_updates = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __enter__(self) -> JsonBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def row(self, label: str) -> Row:
        """Return a row that prints each event as JSON."""

        def show(event: JobEvent) -> None:
            with self._lock:
                print(as_line({"event": as_dict(event)}), file=self._stream, flush=True)

        return show

    def say(self, text: str) -> None:
        """Drop a message: only events are printed."""


class LiveBoard:
    """A progress bar per job, with its state, progress, latest message and time.

    If the terminal has too few lines for all jobs, one bar summarizes them, and only unfinished jobs have their own.
    """

    queue_updates = True

    def __init__(self, stream: TextIO, jobs: int = 1) -> None:
        self._progress = _bars(stream)
        self._crowded = jobs > max(1, self._progress.console.height - 3)
        self._ended = 0
        self._lock = threading.Lock()
        if self._crowded:
            self._all = self._progress.add_task(f"{jobs} jobs", total=jobs, state=f"0/{jobs}", said="")
            self._jobs = jobs

    def __enter__(self) -> LiveBoard:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def row(self, label: str) -> Row:
        """Return a row that shows a job as a bar."""
        bars = self._progress
        # Without a total, the bar only moves. A run of one evolution reports no progress: 0 % would be wrong.
        task = bars.add_task(label or "job", total=None, visible=not self._crowded, state="SUBMITTED", said="")

        def show(event: JobEvent) -> None:
            kind = event.WhichOneof("event")
            if kind == "created":
                name = f"job {event.job_id}"
                name = name if label in ("", name) else f"{label} {name}"
                bars.update(task, description=name, state=state_name(event.created.state))
            elif kind == "state_change":
                change = event.state_change
                state = state_name(change.to_state)
                ended = change.job.HasField("finished_at")
                failure = failure_text(change.job.failure) if change.job.HasField("failure") else ""
                estimate = estimate_text(change.job.device_choice) if state == "RUNNING" else ""
                bars.update(task, state=state, said=failure or estimate)
                if ended:
                    bars.update(task, total=1.0, completed=1.0 if state == "SUCCEEDED" else None)
                    bars.stop_task(task)
                if self._crowded:
                    bars.update(task, visible=not ended)
                    self._count(failure and f"job {event.job_id}: {failure}", ended)
            elif kind == "progress":
                bars.update(task, total=1.0, completed=event.progress.progress, said=event.progress.message)
            elif kind in ("log", "queue_change"):
                bars.update(task, said=event_text(event)[1])

        return show

    def say(self, text: str) -> None:
        """Print a message above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)

    def _count(self, said: str, ended: bool) -> None:
        with self._lock:
            self._ended += ended
            state = f"{self._ended}/{self._jobs}"
        self._progress.update(self._all, completed=self._ended, state=state)
        if ended and said:
            self.say(said)


def _is_news(place: QueuePlace, printed: QueuePlace | None) -> bool:
    """Return whether to print a place: not that of a job that is about to start, nor each step of a long queue."""
    if printed is None:
        waits = place.position > 0 or place.estimated_start_seconds_p50 >= 1
        return waits or place.reason != QueueReason.QUEUE_REASON_NO_WORKER
    known = place.HasField("estimated_start_seconds_p50") and not printed.HasField("estimated_start_seconds_p50")
    halved = 2 * place.position <= printed.position and place.position != printed.position
    return known or halved or place.reason != printed.reason


def _bars(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class State(ProgressColumn):
        """The job's state, in its colour."""

        def render(self, task: Task) -> Text:
            state = str(task.fields["state"])
            return Text(f"{state:<9}", style=_STYLES.get(state, "bold"))

    class Elapsed(ProgressColumn):
        """Time since the submission, to 10 ms: most jobs take less than a second."""

        def render(self, task: Task) -> Text:
            taken = task.finished_time if task.finished else task.elapsed
            return Text(f"{taken or 0.0:6.2f} s")

    return Progress(
        SpinnerColumn(finished_text="●"),
        TextColumn("{task.description}", markup=False),
        State(),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        Elapsed(),
        TextColumn("{task.fields[said]}", markup=False, style="dim", table_column=Column(ratio=1, no_wrap=True)),
        console=Console(file=stream, no_color=not wants_color(stream)),
        refresh_per_second=15,
        expand=True,
    )
