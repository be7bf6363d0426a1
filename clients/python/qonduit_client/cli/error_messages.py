# SPDX-License-Identifier: Apache-2.0
"""Error messages with the next step, and exit codes. Imports no gRPC."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from qonduit_client.errors import (
    AlreadyExists,
    ConfigInvalid,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    LimitExceeded,
    LoginFailed,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    Refused,
    ServerFault,
    ServerUnavailable,
    TimedOut,
)

if TYPE_CHECKING:
    from qonduit.v1.failure_pb2 import Failure

OK: Final = 0
JOB_FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
UNAVAILABLE: Final = 5
CANCELLED: Final = 6
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130
#: In increasing severity; a command with several outcomes returns the most severe.
_BY_SEVERITY: Final = (OK, CANCELLED, JOB_FAILED, TIMED_OUT, NOT_FOUND, REFUSED, UNAVAILABLE, INTERRUPTED)

#: The option that sets a field of a request.
_OPTIONS: Final = {
    "job.shots": "--shots",
    "job.seed": "--seed",
    "job.name": "--name",
    "job.inputs": "--input",
    "device": "--device",
    "request_id": "--request-id",
    "job.deployment_id": "--deployment",
    "deployment.name": "--name",
    "credential": "--credential-file",
    "credential_id": "--credential",
    "filter": "--filter",
    "target_language": "--to",
}
#: The command that lists resources of the type that was not found.
_LISTS: Final = {
    "job": "list jobs: `qonduit jobs`",
    "deployment": "list deployments: `qonduit deployments`",
    "credential": "list credentials: `qonduit credential list`",
    "device": "list devices: `qonduit devices`",
    "provider": "list providers: `qonduit devices --languages`",
    "result": "show a job's results: `qonduit result JOB`",
}
#: The next step for a failed job, by reason, else by category.
_AFTER_REASON: Final = {
    "SYNTAX_ERROR": "fix the program and run it again; if it is in another language, pass --language",
    "WRONG_LANGUAGE": "pass the program's language with --language; `qonduit languages` lists them",
    "UNKNOWN_GATE": "define the gate in the program, or use a gate of its language",
    "MISSING_INPUT": "pass its value with --input NAME=VALUE, or several with --sweep NAME=START:STOP:COUNT",
    "UNKNOWN_INPUT": "pass the name of one of the program's inputs; an element of an array is NAME[0]",
    "INVALID_INPUT": "pass another value with --input NAME=VALUE",
    "NO_STATEVECTOR": "run it without --statevector to get counts",
    "PYTHON_SOURCE_DISABLED": "send OpenQASM instead, or ask the operator to enable Python source",
    "PYTHON_SOURCE_UNAVAILABLE": "send OpenQASM instead; `qonduit doctor` on the server lists the missing requirements",
    "MEMORY_LIMIT": "use fewer qubits, or another device: `qonduit devices`; `qonduit info` shows the limits",
    "RESULT_TOO_LARGE": "measure fewer qubits, or use fewer shots; `qonduit info` shows the limits",
    "CREDENTIAL_DELETED": "store another one with `qonduit credential create`, and rerun the job with --credential",
    "TIME_LIMIT": "use a smaller program or fewer shots; `qonduit info` shows the limits",
}
_AFTER_CATEGORY: Final = {
    1: "fix the program and run it again",
    2: "choose another device with --device: `qonduit devices`",
    3: "use a smaller program or fewer shots; `qonduit info` shows the limits",
    4: "run it again with `qonduit rerun JOB`, or on another device: `qonduit devices`",
    5: "run it again: `qonduit rerun JOB`",
    6: "run it again with `qonduit rerun JOB`; if it fails again, see the server's log",
}


def exit_code(error: QonduitError) -> int:
    """Return the exit code of an error."""
    for kind, code in (
        (JobFailed, JOB_FAILED),
        (JobCancelled, CANCELLED),
        (ConfigInvalid, USAGE),
        (NotFound, NOT_FOUND),
        ((InvalidRequest, AlreadyExists, PreconditionFailed, LimitExceeded, Refused, ProgramUnreadable), REFUSED),
        (LoginFailed, REFUSED),
        (TimedOut, TIMED_OUT),
    ):
        if isinstance(error, kind):
            return code
    return UNAVAILABLE


def worst(codes: Iterable[int]) -> int:
    """Return the most severe exit code; 0 without any."""
    return max(codes, key=_BY_SEVERITY.index, default=OK)


def explain(error: QonduitError, server: str) -> str:
    """Return the error message and the next step, one per line."""
    lines = [error.message]
    for violation in error.violations:
        if violation.description and violation.description not in error.message:
            named = not violation.field or violation.description.startswith(violation.field)
            lines.append(violation.description if named else f"{violation.field}: {violation.description}")
    if isinstance(error, ServerUnavailable) and not error.reason:
        if "in plain text" in error.message:
            return "\n".join([error.message, "on the command line: --tls, --tls-ca FILE or --server HOST:PORT"])
        if error.message.startswith("no server at"):
            return "\n".join(
                [f"{error.message}: start one with `qonduit serve`, or pass --server HOST:PORT", *_notes(error)]
            )
        lines = [f"lost the connection to {server}: {error.message}"]
    if isinstance(error, ServerFault) and error.request_id and error.request_id not in error.message:
        lines.append(f"see the server's log for request {error.request_id}")
    step = _next_step(error, server)
    notes = _notes(error)
    if step and not notes:
        lines.append(step)
    if error.retry_after and not isinstance(error, ServerUnavailable):
        lines.append(f"retry in {error.retry_after:g} s")
    return "\n".join([*lines, *notes])


def _notes(error: QonduitError) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _next_step(error: QonduitError, server: str) -> str:  # noqa: C901 - a table, one line a case
    """Return the next step for an error without notes."""
    match error:
        case ServerUnavailable(reason="DRAINING"):
            return f"the server at {server} is shutting down: retry after its restart"
        case ServerUnavailable(reason="UNTRUSTED"):
            return (
                "on the command line: --tls-ca FILE trusts another CA, --no-tls disables TLS, --server selects a server"
            )
        case ServerUnavailable(reason="STORE_UNAVAILABLE"):
            return "retry later; `qonduit doctor` on the server's machine checks its database"
        case ServerUnavailable(reason="IDENTITY_PROVIDER_UNAVAILABLE"):
            return "check the network and the issuer of `qonduit config list`, and retry"
        case ServerUnavailable():
            return "check the server with `qonduit info`; acknowledged jobs are not lost"
        case AlreadyExists(reason="REQUEST_ID_REUSED"):
            return "use another --request-id, or omit it"
        case ProgramUnreadable(reason="UNKNOWN_LANGUAGE"):
            return "pass --language QASM2, --language QASM3 or another language of `qonduit languages`"
        case ProgramUnreadable():
            return "check the file, and pass its language with --language"
        case Refused(status="UNAUTHENTICATED") if "remedy" in error.metadata:
            return ""
        case Refused(status="UNAUTHENTICATED"):
            return "authentication required: set QONDUIT_TOKEN, pass --token-file, or name the server: `qonduit config`"
        case Refused():
            return "permission denied: use another token (QONDUIT_TOKEN), or ask the operator"
        case NotFound():
            return _LISTS.get(error.metadata.get("resource_type", ""), "")
        case LimitExceeded():
            return "`qonduit info` shows the server's limits"
        case InvalidRequest(reason="INVALID_FILTER"):
            return "a filter compares fields, as in 'deployment_id = 7 AND executed_on_id = 1'"
        case InvalidRequest():
            options = sorted({_OPTIONS[each.field] for each in error.violations if each.field in _OPTIONS})
            return f"change it with {', '.join(options)}" if options else ""
        case PreconditionFailed(reason="UNSUPPORTED_BY_DEVICE"):
            return "choose another device with --device: `qonduit devices`"
        case PreconditionFailed(reason="UNSUPPORTED_BY_LANGUAGE"):
            return "choose another language: `qonduit languages` lists them"
        case PreconditionFailed(reason="FAILED_PRECONDITION"):
            return "check the current state: `qonduit job JOB`, `qonduit deployments`, `qonduit devices`"
        case TimedOut():
            return f"check the server at {server} with `qonduit info`, and retry"
        case ServerFault(status="UNIMPLEMENTED"):
            return "the server is older than this client: `qonduit info` shows its version"
        case ServerFault():
            return "retry; if the error persists, report this message to the operator"
    return ""


def after_failure(failure: Failure, job_id: int) -> str:
    """Return the next step for a failed job."""
    step = _AFTER_REASON.get(failure.reason) or _AFTER_CATEGORY.get(failure.category, _AFTER_CATEGORY[6])
    return step.replace("JOB", str(job_id))


def did_you_mean(given: str, known: Sequence[str]) -> list[str]:
    """Return the known names most similar to the given one, best first; a name without its provider matches too."""
    by_lower = {name.lower(): name for name in known}
    wanted = given.lower().strip()
    if exact := [name for lower, name in by_lower.items() if wanted and lower.rpartition("/")[2] == wanted]:
        return exact
    close = difflib.get_close_matches(wanted[:200], list(by_lower), n=3)
    begun = [lower for lower in by_lower if len(wanted) > 3 and lower.startswith(wanted)]
    return [by_lower[each] for each in dict.fromkeys([*close, *begun])][:3]
