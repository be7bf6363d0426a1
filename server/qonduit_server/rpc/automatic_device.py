# SPDX-License-Identifier: Apache-2.0
"""Chooses the device of a request that names "AUTO": the first candidate on which all programs compile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from qonduit.v1.job_pb2 import DeviceChoice
from qonduit.v1.job_service_pb2 import CompiledProgram, CreateJobRequest, RunJobRequest
from qonduit_server.device_choice import Candidate
from qonduit_server.errors import Abandoned, CallError, FailedPrecondition, InvalidArgument, ResourceExhausted
from qonduit_server.store.jobs.job_rows import NewJob

#: The time of a worker that one choice may take, in seconds. After that, the best candidate is taken unchecked.
BUDGET_SECONDS: Final = 2.0
#: Messages name at most this many devices.
_MAX_LISTED: Final = 10
#: Of the reason of one device.
_REASON_CHARACTERS: Final = 140

Compile: TypeAlias = Callable[[NewJob, float], Sequence[CompiledProgram]]


def choose(
    request: CreateJobRequest | RunJobRequest,
    candidates: Sequence[Candidate],
    refused: dict[str, str],
    check: Callable[[Candidate], NewJob],
    compile_job: Compile,
) -> NewJob:
    """Return the job on the first candidate that can run it, with `device_choice` in its spec.

    Args:
        request: names "AUTO" or "PROVIDER/AUTO".
        candidates: in the order of preference.
        refused: the reason for each other device.
        check: applies the checks of a submission to a candidate.
        compile_job: compiles the programs within a time in seconds.

    Raises:
        InvalidArgument: the request or a program is invalid.
        FailedPrecondition: no device can run the job; the message contains the reason of each.
        Abandoned: the call ended before a device was chosen.
    """
    deadline = time.monotonic() + BUDGET_SECONDS
    unchecked: tuple[Candidate, NewJob] | None = None
    tried: dict[str, str] = {}
    for candidate in candidates:
        try:
            new = check(candidate)
            left = deadline - time.monotonic()
            if left <= 0:
                unchecked = unchecked or (candidate, new)
                break
            compiled = compile_job(new, left)
        except InvalidArgument:
            raise
        except (Abandoned, ResourceExhausted) as error:
            if isinstance(error, Abandoned) and time.monotonic() < deadline:
                raise  # the caller is gone: it would not learn of the job
            if isinstance(error, ResourceExhausted) and error.retry_after is None:
                tried[candidate.name] = _shortened(candidate, error)  # it does not fit there, and never will
                continue
            unchecked = unchecked or (candidate, new)
            break
        except CallError as error:
            tried[candidate.name] = _shortened(candidate, error)
            continue
        return _chosen(request, candidate, new, candidates, compiled)
    if unchecked is not None:
        candidate, new = unchecked
        return _chosen(request, candidate, new, candidates, None)
    reasons = "; ".join([*tried.values(), *refused.values()][:_MAX_LISTED]) or "this server has no such device"
    raise FailedPrecondition(
        f"device: {request.device} finds no device for this job: {reasons}",
        subject="device",
        kind="AUTO",
        reason="UNSUPPORTED_BY_DEVICE",
    )


def _shortened(candidate: Candidate, error: CallError) -> str:
    text = str(error)
    return f"{candidate.name}: {text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + '...'}"


def _chosen(
    request: CreateJobRequest | RunJobRequest,
    candidate: Candidate,
    new: NewJob,
    candidates: Sequence[Candidate],
    compiled: Sequence[CompiledProgram] | None,
) -> NewJob:
    others = len(candidates) - 1
    reason = (
        f"{candidate.name} has the lowest cost of {others + 1} exact simulators that meet the requirements of the job: "
        f"{candidate.waiting} jobs wait or run there"
    )
    if compiled is None:
        reason += f"; its programs were not compiled within {BUDGET_SECONDS:g} s"
    choice = DeviceChoice(requested=request.device, reason=reason)
    methods = candidate.device.capabilities.methods
    if new.spec.simulation.method or len(methods) == 1:
        choice.method = new.spec.simulation.method or methods[0].name
    if compiled:
        choice.memory_bytes = max(program.memory_bytes for program in compiled)
    new.spec.device_choice.CopyFrom(choice)
    return new
