# SPDX-License-Identifier: Apache-2.0
"""Messages as tables in text and HTML: one row per message, or one row per field of a single message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from google.protobuf.message import Message

from qonduit.v1.job_pb2 import Job
from qonduit.v1.system_service_pb2 import WorkerState
from qonduit_client.formatting import (
    available_text,
    failure_text,
    language_name,
    local_time,
    plural,
    role_name,
    seconds_between,
)
from qonduit_client.states import TERMINAL, state_name
from qonduit_client.text_table import table_of

#: Maximum number of rows of a table, and of characters of a cell.
ROWS: Final = 40
CELL: Final = 60

#: Names of providers by their ids: devices refer to their provider by its id.
ProviderNames = Mapping[int, str]


@dataclass(frozen=True)
class _Column:
    """One column: its head, and the text of a message's cell.

    Attributes:
        detail: only shown for a single message.
    """

    head: str
    text: Callable[[Any, ProviderNames], str]
    right: bool = False
    detail: bool = False


def device_name(device: Any, providers: ProviderNames) -> str:
    """Return the name that `Client.run` accepts, "PROVIDER/device"; "?" stands for an unknown provider."""
    return f"{providers.get(device.provider_id, '?')}/{device.name}"


def _available(device: Any, _: ProviderNames) -> str:
    return available_text(device)


def _methods(device: Any, _: ProviderNames) -> str:
    return ", ".join(f"{method.name} {method.max_qubits}" for method in device.capabilities.methods)


def _seconds(job: Job, _: ProviderNames) -> str:
    if job.state not in TERMINAL or not job.HasField("finished_at"):
        return ""
    return f"{seconds_between(job.created_at, job.finished_at):.1f} s"


def _failure(job: Job, _: ProviderNames) -> str:
    return failure_text(job.failure) if job.HasField("failure") else ""


def _languages(languages: Sequence[int]) -> str:
    return " ".join(dict.fromkeys(language_name(each) for each in languages))


def _worker_state(worker: Any, _: ProviderNames) -> str:
    known = worker.state in WorkerState.values()
    return WorkerState.Name(worker.state).removeprefix("WORKER_STATE_") if known else f"STATE_{worker.state}"


def _limits(values: Any) -> str:
    return ", ".join(f"{field.name}={number}" for field, number in values.ListFields() if number != -1)


#: The columns of each message type.
_COLUMNS: Final[dict[str, tuple[_Column, ...]]] = {
    "Device": (
        _Column("device", device_name),
        _Column("qubits", lambda each, _: str(each.num_qubits), right=True),
        _Column("kind", lambda each, _: "simulator" if each.is_simulator else "processor"),
        _Column("max shots", lambda each, _: str(each.max_shots), right=True),
        _Column("waiting", lambda each, _: str(each.queue_depth) if each.HasField("queue_depth") else "", right=True),
        _Column("available", _available),
        _Column("noise", lambda each, _: "yes" if each.capabilities.noise else ""),
        _Column("methods", _methods),
        _Column("precision", lambda each, _: " ".join(each.capabilities.floating_point), detail=True),
        _Column("basis gates", lambda each, _: " ".join(each.basis_gates), detail=True),
    ),
    "Job": (
        _Column("id", lambda each, _: str(each.id), right=True),
        _Column("state", lambda each, _: state_name(each.state)),
        _Column("progress", lambda each, _: f"{each.progress:.0%}", right=True),
        _Column("device", lambda each, _: each.device),
        _Column("shots", lambda each, _: str(each.shots), right=True),
        _Column("created", lambda each, _: local_time(each.created_at)),
        _Column("took", _seconds, right=True),
        _Column("name", lambda each, _: each.name),
        _Column("project", lambda each, _: each.project, detail=True),
        _Column("programs", lambda each, _: str(len(each.program_runs)), detail=True),
        _Column("seed", lambda each, _: str(each.seed) if each.HasField("seed") else "", detail=True),
        _Column("why this device", lambda each, _: each.device_choice.reason, detail=True),
        _Column("failure", _failure, detail=True),
    ),
    "Provider": (
        _Column("id", lambda each, _: str(each.id), right=True),
        _Column("provider", lambda each, _: each.name),
        _Column("languages", lambda each, _: _languages([one.supported_language for one in each.supported_languages])),
    ),
    "Deployment": (
        _Column("id", lambda each, _: str(each.id), right=True),
        _Column("programs", lambda each, _: str(len(each.programs)), right=True),
        _Column("languages", lambda each, _: _languages([one.assembler_language for one in each.programs])),
        _Column("deployed", lambda each, _: local_time(each.deployed_at)),
        _Column("by", lambda each, _: each.deployed_by),
        _Column("name", lambda each, _: each.name),
        _Column("project", lambda each, _: each.project, detail=True),
    ),
    "ServerProgram": (
        _Column("name", lambda each, _: each.name),
        _Column("version", lambda each, _: str(each.version), right=True),
        _Column("environment", lambda each, _: each.environment),
        _Column("deployment", lambda each, _: str(each.deployment_id), right=True),
        _Column("description", lambda each, _: each.description),
        _Column("entry point", lambda each, _: each.entry_point or "script", detail=True),
        _Column("imports", lambda each, _: " ".join(each.imports), detail=True),
        _Column("schemas", lambda each, _: " ".join(each.schemas), detail=True),
        _Column("sha256", lambda each, _: each.sha256, detail=True),
        _Column("python", lambda each, _: each.python_version, detail=True),
    ),
    "Pause": (
        _Column("paused", lambda each, _: each.subject),
        _Column("since", lambda each, _: local_time(each.paused_at)),
        _Column("running", lambda each, _: str(each.running_jobs), right=True),
        _Column("drained", lambda each, _: "yes" if each.drained else "no"),
        _Column("by", lambda each, _: each.paused_by),
        _Column("message", lambda each, _: each.message),
    ),
    "Share": (
        _Column("provider", lambda each, _: each.provider),
        _Column("owner", lambda each, _: each.owner),
        _Column("member", lambda each, _: each.member),
        _Column("weight", lambda each, _: f"{each.weight:g}", right=True),
        _Column("lead", lambda each, _: f"{each.lead_seconds:.1f} s", right=True),
        _Column("queued", lambda each, _: str(each.queued_jobs), right=True),
        _Column("running", lambda each, _: str(each.running_jobs), right=True),
    ),
    "AuditEntry": (
        _Column("time", lambda each, _: local_time(each.time)),
        _Column("principal", lambda each, _: each.principal),
        _Column("method", lambda each, _: each.method),
        _Column("object", lambda each, _: each.object),
        _Column("outcome", lambda each, _: each.outcome),
        _Column("from", lambda each, _: each.peer),
        _Column("authentication", lambda each, _: each.authentication, detail=True),
        _Column("credential", lambda each, _: each.credential, detail=True),
        _Column("request", lambda each, _: each.request_id, detail=True),
    ),
    "UsageRow": (
        _Column("owner", lambda each, _: each.owner),
        _Column("user", lambda each, _: each.executed_by),
        _Column("device", lambda each, _: each.device),
        _Column("day", lambda each, _: each.day),
        _Column("jobs", lambda each, _: str(each.jobs), right=True),
        _Column("shots", lambda each, _: str(each.shots), right=True),
        _Column("worker seconds", lambda each, _: f"{each.worker_seconds:.1f}", right=True),
    ),
    "Quota": (
        _Column("owner", lambda each, _: each.owner),
        _Column("limits", lambda each, _: _limits(each.limits)),
        _Column("in force", lambda each, _: _limits(each.effective), detail=True),
        _Column("used", lambda each, _: _limits(each.used), detail=True),
    ),
    "Credential": (
        _Column("id", lambda each, _: str(each.id), right=True),
        _Column("name", lambda each, _: each.name),
        _Column("provider id", lambda each, _: str(each.provider_id), right=True),
        _Column("created", lambda each, _: local_time(each.created_at)),
        _Column("replaced", lambda each, _: local_time(each.updated_at)),
        _Column("project", lambda each, _: each.project),
    ),
    "Project": (
        _Column("project", lambda each, _: each.name),
        _Column("role", lambda each, _: role_name(each.role)),
        _Column("created", lambda each, _: local_time(each.created_at)),
        _Column("by", lambda each, _: each.created_by),
        _Column("description", lambda each, _: each.description),
    ),
    "ProjectMember": (
        _Column("user", lambda each, _: each.user),
        _Column("role", lambda each, _: role_name(each.role)),
        _Column("weight", lambda each, _: f"{each.weight:g}", right=True),
        _Column("added", lambda each, _: local_time(each.added_at)),
    ),
    "Worker": (
        _Column("provider", lambda each, _: each.provider),
        _Column("pid", lambda each, _: str(each.pid), right=True),
        _Column("state", _worker_state),
        _Column("job", lambda each, _: str(each.job_id or ""), right=True),
        _Column("since", lambda each, _: local_time(each.since)),
        _Column("phase", lambda each, _: each.phase),
    ),
}


def table_text(kind: str, messages: Sequence[Any], providers: ProviderNames, further: str = "") -> str:
    """Return a table as text, one line per message.

    Args:
        kind: the message type: "Job".
        messages: at most `ROWS` of them are shown.
        providers: the names of providers by their ids.
        further: a note on further messages; by default the number of omitted ones.
    """
    if not messages:
        return f"no {nouns(kind)}"
    columns, rows = _rows(kind, messages, providers)
    right = [place for place, column in enumerate(columns) if column.right]
    lines = table_of([column.head for column in columns], rows, right=right)
    more = _more(kind, messages, further)
    return f"{lines}\n{more}" if more else lines


def table_html(kind: str, messages: Sequence[Any], providers: ProviderNames, further: str = "") -> str:
    """Return the same as HTML."""
    if not messages:
        return f"<p>no {nouns(kind)}</p>"
    columns, rows = _rows(kind, messages, providers)
    head = "".join(f"<th>{escape(column.head)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, columns, row)) + "</tr>" for row in rows)
    more = _more(kind, messages, further)
    caption = f"<caption style='caption-side:bottom'>{escape(more)}</caption>" if more else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def nouns(kind: str) -> str:
    """Return the name of several messages of a type."""
    return {"AuditEntry": "audit entries", "ProjectMember": "members", "ServerProgram": "server programs"}.get(
        kind, f"{kind.lower()}s"
    )


def message_text(message: Message) -> str:
    """Return one message as text, one line per field; empty fields are omitted."""
    fields = _fields(message)
    width = max(len(head) for head, _ in fields)
    return "\n".join(f"{head:<{width}}  {text}" for head, text in fields)


def message_html(message: Message) -> str:
    """Return the same as HTML."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(head)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for head, text in _fields(message)
    )
    return f"<table><tbody>{rows}</tbody></table>"


def cut(text: str, longest: int = CELL) -> str:
    """Return a text on one line, truncated to a maximum length."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _rows(kind: str, messages: Sequence[Any], providers: ProviderNames) -> tuple[list[_Column], list[list[str]]]:
    columns = [column for column in _COLUMNS[kind] if not column.detail]
    rows = [[cut(column.text(each, providers)) for column in columns] for each in messages[:ROWS]]
    return columns, rows


def _fields(message: Message) -> list[tuple[str, str]]:
    kind = message.DESCRIPTOR.name
    texts = ((column.head, cut(column.text(message, {}), 4 * CELL)) for column in _COLUMNS[kind])
    return [(head, text.removeprefix("?/")) for head, text in texts if text]


def _cell(column: _Column, text: str) -> str:
    return f"<td style='text-align:{'right' if column.right else 'left'}'>{escape(text)}</td>"


def _more(kind: str, messages: Sequence[Any], further: str) -> str:
    hidden = len(messages) - ROWS
    return further or (f"... and {plural(hidden, f'more {kind.lower()}')}" if hidden > 0 else "")
