# SPDX-License-Identifier: Apache-2.0
"""Notebook display: live progress bars of jobs, and tables of messages."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.system_service_pb2 import Worker
from qonduit_client.errors import ClientClosed, QonduitError
from qonduit_client.formatting import event_text, failure_text, plural, seconds_between
from qonduit_client.message_table import cut, message_html, message_text
from qonduit_client.states import TERMINAL, state_name

if TYPE_CHECKING:
    from qonduit.v1.event_pb2 import JobEvent

#: Seconds after which a bar updates its elapsed time without an event.
TICK: Final = 1.0
#: Legible on light and dark pages; other elements inherit the page's colours.
_COLOURS: Final = {"SUCCEEDED": "#2e9e5b", "FAILED": "#d9534f", "CANCELLED": "#c98a1b"}
_BUSY: Final = "#4c78a8"
#: Maximum number of characters of a bar's message.
_LONGEST: Final = 200


class Watchable(Protocol):
    """A displayed job handle."""

    id: int

    def events(
        self,
        *,
        after_sequence: int = 0,
        timeout: float | None = None,
        heartbeat: float | None = None,
        queue_updates: bool = False,
    ) -> Iterator[JobEvent]:
        """Yield the events of the job until it ends."""
        ...


class Bar:
    """A job's state, progress, device, shots, elapsed seconds (server clock) and last message, as HTML and text.

    While the job waits, the message is its place in the queue and its estimated start.
    """

    def __init__(self, job_id: int, job: Job | None = None) -> None:
        self._id = job_id
        self._state = ""
        self._share = 0.0
        self._message = ""
        self._queue = ""
        self._device = ""
        self._shots = 0
        self._began: Timestamp | None = None
        self._seconds = 0.0
        if job is not None:
            self._apply_job(job)
            if job.HasField("finished_at"):
                self._seconds = seconds_between(job.created_at, job.finished_at)

    def update(self, event: JobEvent) -> None:
        """Apply an event."""
        kind = event.WhichOneof("event")
        if kind == "created":
            self._apply_job(event.created)
        elif kind == "state_change":
            self._apply_job(event.state_change.job)
        elif kind == "progress":
            self._share = event.progress.progress
            self._message = event.progress.message or self._message
        elif kind == "log":
            self._message = event_text(event)[1]
        elif kind == "queue_change":
            self._queue = event_text(event)[1]
        if self._began is not None and event.event_time.seconds:
            self._seconds = max(self._seconds, seconds_between(self._began, event.event_time))

    def set_message(self, message: str) -> None:
        """Replace the displayed message."""
        self._message = message

    def summary(self) -> str:
        """Return the bar as one line of text, without the job's id."""
        facts = [self._state or "unknown", f"{self._share:.0%}", *self._target(), f"{self._seconds:.1f} s"]
        message = cut(self._latest(), _LONGEST)
        return ", ".join(facts) + (f": {message}" if message else "")

    def text(self) -> str:
        """Return the bar as one line of text."""
        return f"Job {self._id}: {self.summary()}"

    def html(self) -> str:
        """Return the bar as HTML."""
        state = self._state or "unknown"
        message = escape(cut(self._latest(), _LONGEST))
        colour = _COLOURS.get(self._state, _BUSY)
        return (
            "<div style='display:flex;align-items:center;gap:.6em;font-size:.9em'>"
            f"<span>Job {self._id}</span><b style='color:{colour}'>{escape(state)}</b>"
            "<span style='flex:0 0 12em;height:.7em;border-radius:.35em;background:rgba(128,128,128,.3)'>"
            f"<span style='display:block;height:100%;border-radius:.35em;width:{100 * self._share:.0f}%;"
            f"background:{colour}'></span></span><span>{self._share:.0%}</span><span>{self._seconds:.1f} s</span>"
            f"<span>{escape(', '.join(self._target()))}</span><span>{message}</span></div>"
        )

    def _latest(self) -> str:
        """Return the place in the queue while the job waits, else its last message."""
        return (self._state == "QUEUED" and self._queue) or self._message

    def _target(self) -> list[str]:
        """Return the device and the shots, if known."""
        return [cut(each) for each in (self._device, plural(self._shots, "shot") if self._shots else "") if each]

    def _apply_job(self, job: Job) -> None:
        self._state = state_name(job.state)
        self._share = max(self._share, job.progress)
        self._device = job.device or self._device
        self._shots = job.shots or self._shots
        self._began = job.created_at
        if job.HasField("failure"):
            self._message = failure_text(job.failure)
        elif job.state in TERMINAL:
            self._message = ""


def in_kernel() -> bool:
    """Return whether this process is a notebook kernel, whose outputs can be updated."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def show_messages_as_tables() -> None:
    """Register IPython formatters, if it runs, that display single messages (a job, a device) as tables.

    Formatters registered by the user are kept.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    html, plain = (shell.display_formatter.formatters[kind] for kind in ("text/html", "text/plain"))
    for kind in (Deployment, Device, Job, Provider, Worker):
        if kind not in html.type_printers:
            html.for_type(kind, message_html)
        if kind not in plain.type_printers:
            plain.for_type(kind, lambda message, printer, _: printer.text(message_text(message)))


def display(bar: Bar) -> Callable[[Bar], None]:
    """Display a bar; return a function that updates it in place.

    Raises:
        NotImplementedError: this process is not a notebook; IPython then uses another representation.
    """
    if not in_kernel():
        raise NotImplementedError
    from IPython.display import DisplayHandle

    handle = DisplayHandle()
    handle.display(_bundle(bar), raw=True)
    return lambda now: handle.update(_bundle(now), raw=True)


def show(job: Watchable, known: Job | None) -> threading.Thread | None:
    """Display a job as a live bar; a thread updates it until the job ends or the client is closed.

    Raises:
        NotImplementedError: this process is not a notebook.
    """
    bar = Bar(job.id, known)
    update = display(bar)
    if known is not None and known.state in TERMINAL:
        return None
    thread = threading.Thread(target=_follow, args=(job, bar, update), name=f"bar of job {job.id}", daemon=True)
    thread.start()
    return thread


def _follow(job: Watchable, bar: Bar, update: Callable[[Bar], None]) -> None:
    try:
        for event in job.events(heartbeat=TICK, queue_updates=True):
            bar.update(event)
            update(bar)
    except QonduitError as error:
        bar.set_message(reason(error))
        update(bar)


def reason(error: QonduitError) -> str:
    """Return the message of a bar that is no longer updated."""
    return "no longer followed: the client was closed" if isinstance(error, ClientClosed) else error.message


def _bundle(bar: Bar) -> dict[str, Any]:
    return {"text/html": bar.html(), "text/plain": bar.text()}
