# SPDX-License-Identifier: Apache-2.0
"""Format events, failures and times as text."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import JobEvent, LogLevel, StateChange
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import DeviceChoice, ProviderStatus, QueuePlace, QueueReason, VendorCancellation
from qonduit.v1.project_pb2 import ProjectRole
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.states import state_name


def event_text(event: JobEvent) -> tuple[str, str]:
    """Return an event as a keyword and a description, which may be empty."""
    kind = event.WhichOneof("event")
    if kind == "created":
        shots = f", {plural(event.created.shots, 'shot')}" if event.created.shots else ""  # exact values need no shots
        return "created", f"job {event.job_id}{shots}"
    if kind == "state_change":
        return state_name(event.state_change.to_state).lower(), _state_text(event.state_change)
    if kind == "progress":
        return "progress", f"{event.progress.progress:.0%} {event.progress.message}".rstrip()
    if kind == "program_run":
        run = event.program_run
        said = f"program {run.index + 1} {state_name(run.state).lower()}"
        return "program", f"{said}: {failure_text(run.failure)}" if run.HasField("failure") else said
    if kind == "result_ready":
        ready = event.result_ready
        if ready.points > 1:
            return (
                "result",
                f"results of points {ready.first_point} to {ready.first_point + ready.points - 1} are available",
            )
        return "result", f"result {ready.result_id} is available"
    if kind == "partial_result":
        return "partial", f"{plural(len(event.partial_result.results), 'result')} so far"
    if kind == "queue_change":
        return "queue", queue_text(event.queue_change.queue)
    if kind == "log":
        return ("warning" if event.log.level == LogLevel.LOG_LEVEL_WARNING else "note"), event.log.message
    if kind == "provider_status":
        return "vendor", vendor_text(event.provider_status)
    if kind == "updated":
        return "updated", f"priority {event.updated.priority}" if event.updated.priority else ""
    return "event", "of a type unknown to this client"


def _state_text(change: StateChange) -> str:
    """Return the failure that a change of the state contains, or which attempt begins."""
    if change.job.HasField("failure"):
        return failure_text(change.job.failure)
    begins = state_name(change.to_state) == "RUNNING" and change.job.attempt > 1
    return f"attempt {change.job.attempt}" if begins else ""


def vendor_text(status: ProviderStatus) -> str:
    """Return the vendor's word for the state of a job, its place in the vendor's queue, its cost and remarks."""
    answer = {
        VendorCancellation.VENDOR_CANCELLATION_REQUESTED: "cancellation requested",
        VendorCancellation.VENDOR_CANCELLATION_REFUSED: "cancellation refused",
        VendorCancellation.VENDOR_CANCELLATION_TOO_LATE: "cancelled too late",
        VendorCancellation.VENDOR_CANCELLATION_CONFIRMED: "cancellation confirmed",
    }.get(status.cancellation, "")
    parts = (
        status.state,
        f"in {status.group.id} ({status.group.state})" if status.HasField("group") and status.group.id else "",
        f"place {status.queue_position} in its queue" if status.HasField("queue_position") else "",
        f"cost {status.cost.amount:g} {status.cost.unit}" if status.HasField("cost") else "",
        f"cost by prices {status.computed_cost.amount:g} {status.computed_cost.unit}"
        if status.HasField("computed_cost")
        else "",
        answer,
        "it may be charged" if status.may_be_charged else "",
        status.message,
    )
    return "; ".join(filter(None, parts))


def available_text(device: Device) -> str:
    """Return whether a device accepts and runs jobs, and the reason if not."""
    if device.available and device.HasField("pause"):
        whole = f" ({device.pause.subject})" if "/" not in device.pause.subject else ""
        return f"paused{whole}" + (f": {device.pause.message}" if device.pause.message else "")
    return ("yes" if device.available else "no") + (f": {device.status_message}" if device.status_message else "")


def queue_text(place: QueuePlace) -> str:
    """Return the place of a waiting job in the queue, the reason for the wait, and the estimated start."""
    reason = {
        QueueReason.QUEUE_REASON_NO_WORKER: "next, as soon as a worker is free",
        QueueReason.QUEUE_REASON_SHARE: "it is the turn of other callers",
        QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE: "the device is not available",
        QueueReason.QUEUE_REASON_SCHEDULED: "it does not start before its time",
        QueueReason.QUEUE_REASON_QUOTA: "a quota of its owner is used up",
    }.get(place.reason, "")
    if place.reason == QueueReason.QUEUE_REASON_PAUSED:
        reason = place.message or "the device is paused"
    elif place.reason == QueueReason.QUEUE_REASON_VERSIONS:
        reason = place.message or "no worker has the versions that it requires"
    position = f"{plural(place.position, 'job')} before this one" if place.HasField("position") else ""
    return "; ".join(filter(None, (": ".join(filter(None, (position, reason))), start_text(place))))


def start_text(place: QueuePlace) -> str:
    """Return the estimated start of a waiting job, "" if it is not known."""
    if not place.HasField("estimated_start_seconds_p50"):
        return ""
    usual = f"starts in about {duration_text(place.estimated_start_seconds_p50)}"
    return f"{usual}, rarely more than {duration_text(place.estimated_start_seconds_p90)}"


def failure_text(failure: Failure) -> str:
    """Return a failure's message, its position in the program and its reason."""
    place = f" (line {failure.line}, column {failure.column})" if failure.line and failure.column else ""
    if failure.line and not failure.column:
        place = f" (line {failure.line})"
    if place and f"line {failure.line}" in failure.message:
        place = ""
    again = "; a retry may succeed" if failure.retryable else ""
    category = _category(failure.category)
    return f"{failure.message or 'no message'}{place} [{category}{failure.reason or 'UNKNOWN'}]{again}"


def estimate_text(choice: DeviceChoice) -> str:
    """Return the estimated duration of a run, "" if it is not known."""
    if not choice.HasField("estimated_seconds_p50"):
        return ""
    usual = f"about {duration_text(choice.estimated_seconds_p50)}"
    if not choice.HasField("estimated_seconds_p90"):
        return usual
    return f"{usual}, rarely more than {duration_text(choice.estimated_seconds_p90)}"


def duration_text(seconds: float) -> str:
    """Return a duration with two digits: "2.1 ms", "35 s", "3.2 h"."""
    for least, unit in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * least or (unit == "s" and seconds >= 1):
            return f"{_two_digits(seconds / least)} {unit}"
    return f"{_two_digits(seconds * 1000)} ms"


def _two_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}"


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: "1 shot", "2 shots"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def local_time(stamp: Timestamp) -> str:
    """Return the date and time in the local time zone; "-" if it is not set."""
    if not stamp.seconds:
        return "-"
    return datetime.fromtimestamp(stamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_between(start: Timestamp, end: Timestamp) -> float:
    """Return the seconds between two times; 0 if one is not set."""
    if not start.seconds or not end.seconds:
        return 0.0
    return (end.seconds - start.seconds) + (end.nanos - start.nanos) / 1e9


def _category(category: int) -> str:
    if category not in FailureCategory.values() or category == FailureCategory.FAILURE_CATEGORY_UNSPECIFIED:
        return ""
    return FailureCategory.Name(category).removeprefix("FAILURE_CATEGORY_") + "/"


def language_name(language: int) -> str:
    """Return the short name of a language; "LANGUAGE_<n>" if this client does not know it."""
    if language not in AssemblerLanguage.values():
        return f"LANGUAGE_{language}"
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")


def role_name(role: int) -> str:
    """Return the short name of a role in a project; empty for none."""
    known = role in ProjectRole.values()
    return ProjectRole.Name(role).removeprefix("PROJECT_ROLE_").lower() if role and known else str(role or "")
