# SPDX-License-Identifier: Apache-2.0
"""What went wrong in words, with what to do next, and the exit code that tells it. Imports no gRPC."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from qonduit_client.errors import (
    AlreadyExists,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    LimitExceeded,
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
#: From the best to the worst, for commands that do several things and end with one code.
_BY_WEIGHT: Final = (OK, CANCELLED, JOB_FAILED, TIMED_OUT, NOT_FOUND, REFUSED, UNAVAILABLE, INTERRUPTED)

#: The option that changes a field of a request.
_OPTIONS: Final = {
    "job.shots": "--shots",
    "job.seed": "--seed",
    "job.name": "--name",
    "job.inputs": "--input",
    "device": "--device",
    "request_id": "--request-id",
    "job.deployment_id": "--deployment",
    "deployment.name": "--name",
    "filter": "--filter",
    "target_language": "--to",
}
#: Where to look for what does not exist.
_LISTS: Final = {
    "job": "list your jobs: `qonduit jobs`",
    "deployment": "list what is stored: `qonduit deployments`",
    "device": "list what there is: `qonduit devices`",
    "provider": "list who there is: `qonduit devices --languages`",
    "result": "see what a job gave: `qonduit result JOB`",
}
#: What to do about a job that failed, by the failure's reason, else by its category.
_AFTER_REASON: Final = {
    "SYNTAX_ERROR": "mend the program there and run it again; if it is in another language, name it with --language",
    "WRONG_LANGUAGE": "name the program's language with --language; `qonduit languages` lists them",
    "UNKNOWN_GATE": "define the gate in the program, or use one that its language has",
    "MISSING_INPUT": "give its value with --input NAME=VALUE, or many of them with --sweep NAME=START:STOP:COUNT",
    "INVALID_INPUT": "give another value with --input NAME=VALUE",
    "NO_STATEVECTOR": "run it without --statevector: then its outcomes are counted",
    "PYTHON_SOURCE_DISABLED": "send OpenQASM instead, or ask the operator to enable Python source",
    "PYTHON_SOURCE_UNAVAILABLE": "send OpenQASM instead; `qonduit doctor` on the server says what is missing",
    "MEMORY_LIMIT": "use fewer qubits, or another device: `qonduit devices`; `qonduit info` tells the limits",
    "RESULT_TOO_LARGE": "measure less, or take fewer shots; `qonduit info` tells the limits",
    "TIME_LIMIT": "make it smaller, or take fewer shots; `qonduit info` tells the limits",
}
_AFTER_CATEGORY: Final = {
    1: "mend the program and run it again",
    2: "choose another device with --device: `qonduit devices`",
    3: "make it smaller, or take fewer shots; `qonduit info` tells the limits",
    4: "run it again with `qonduit rerun JOB`, or on another device: `qonduit devices`",
    5: "run it again: `qonduit rerun JOB`",
    6: "run it again with `qonduit rerun JOB`; if that fails too, the server's log tells more",
}


def exit_code(error: QonduitError) -> int:
    """Return the exit code of an error."""
    for kind, code in (
        (JobFailed, JOB_FAILED),
        (JobCancelled, CANCELLED),
        (NotFound, NOT_FOUND),
        ((InvalidRequest, AlreadyExists, PreconditionFailed, LimitExceeded, Refused, ProgramUnreadable), REFUSED),
        (TimedOut, TIMED_OUT),
    ):
        if isinstance(error, kind):
            return code
    return UNAVAILABLE


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that needs attention most; 0 for none."""
    return max(codes, key=_BY_WEIGHT.index, default=OK)


def explain(error: QonduitError, server: str) -> str:
    """Return what went wrong and what to do next, a line each."""
    lines = [error.message]
    for violation in error.violations:
        if violation.description and violation.description not in error.message:
            named = not violation.field or violation.description.startswith(violation.field)
            lines.append(violation.description if named else f"{violation.field}: {violation.description}")
    if isinstance(error, ServerUnavailable) and not error.reason:
        if "in plain text" in error.message:
            return "\n".join([error.message, "on the command line: --tls, or --tls-ca FILE; or name another server"])
        if error.message.startswith("no server at"):
            return "\n".join(
                [f"{error.message}: start one with `qonduit serve`, or name another with --server", *_notes(error)]
            )
        lines = [f"lost the server at {server}: {error.message}"]
    if isinstance(error, ServerFault) and error.request_id and error.request_id not in error.message:
        lines.append(f"the server's log tells more under request {error.request_id}")
    step = _next_step(error, server)
    notes = _notes(error)
    if step and not notes:
        lines.append(step)
    if error.retry_after and not isinstance(error, ServerUnavailable):
        lines.append(f"try again in {error.retry_after:g} s")
    return "\n".join([*lines, *notes])


def _notes(error: QonduitError) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _next_step(error: QonduitError, server: str) -> str:  # noqa: C901 - a table, one line a case
    """Return what to do, where the command that failed knew no better."""
    match error:
        case ServerUnavailable(reason="DRAINING"):
            return f"the server at {server} is stopping: try again when it is back"
        case ServerUnavailable(reason="UNTRUSTED"):
            return "on the command line: --tls-ca FILE names other roots, --no-tls does without, --server names another"
        case ServerUnavailable(reason="STORE_UNAVAILABLE"):
            return "try again in a while; `qonduit doctor` on the server's machine says what is wrong with its database"
        case ServerUnavailable():
            return "see whether it is back with `qonduit info`; what it acknowledged is not lost"
        case AlreadyExists(reason="REQUEST_ID_REUSED"):
            return "use another --request-id, or none, for another request"
        case ProgramUnreadable(reason="UNKNOWN_LANGUAGE"):
            return "say --language QASM2 or --language QASM3, or another one of `qonduit languages`"
        case ProgramUnreadable():
            return "see whether it is the right file, and name its language with --language"
        case Refused(status="UNAUTHENTICATED"):
            return (
                "the server wants to know who you are: put your token into QONDUIT_TOKEN, or a file into --token-file"
            )
        case Refused():
            return "the server does not let you: ask its operator, or use another token (QONDUIT_TOKEN)"
        case NotFound():
            return _LISTS.get(error.metadata.get("resource_type", ""), "")
        case LimitExceeded():
            return "`qonduit info` tells the server's limits"
        case InvalidRequest(reason="INVALID_FILTER"):
            return "a filter compares fields, as in 'deployment_id = 7 AND executed_on_id = 1'"
        case InvalidRequest():
            options = sorted({_OPTIONS[each.field] for each in error.violations if each.field in _OPTIONS})
            return f"change it with {', '.join(options)}" if options else ""
        case PreconditionFailed(reason="UNSUPPORTED_BY_DEVICE"):
            return "choose another device with --device: `qonduit devices`"
        case PreconditionFailed(reason="UNSUPPORTED_BY_LANGUAGE"):
            return "another language may do: `qonduit languages` shows what there is"
        case PreconditionFailed(reason="FAILED_PRECONDITION"):
            return "see how it is now: `qonduit job JOB`, `qonduit deployments`, `qonduit devices`"
        case TimedOut():
            return f"see whether the server at {server} is well with `qonduit info`, and try again"
        case ServerFault(status="UNIMPLEMENTED"):
            return "the server is older than this client: `qonduit info` tells its version"
        case ServerFault():
            return "try again; if it happens again, show the operator this message"
    return ""


def after_failure(failure: Failure, job_id: int) -> str:
    """Return what to do about a job that failed."""
    step = _AFTER_REASON.get(failure.reason) or _AFTER_CATEGORY.get(failure.category, _AFTER_CATEGORY[6])
    return step.replace("JOB", str(job_id))


def did_you_mean(given: str, known: Sequence[str]) -> list[str]:
    """Those of the known names that may have been meant, the likeliest first; also without what is before a slash."""
    by_lower = {name.lower(): name for name in known}
    wanted = given.lower().strip()
    if exact := [name for lower, name in by_lower.items() if wanted and lower.rpartition("/")[2] == wanted]:
        return exact
    close = difflib.get_close_matches(wanted[:200], list(by_lower), n=3)
    begun = [lower for lower in by_lower if len(wanted) > 3 and lower.startswith(wanted)]
    return [by_lower[each] for each in dict.fromkeys([*close, *begun])][:3]
