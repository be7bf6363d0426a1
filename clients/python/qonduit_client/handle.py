# SPDX-License-Identifier: Apache-2.0
"""The base class of both clients' job handles, and functions for results and terminal states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_client.buffer import checked
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import JobCancelled, JobFailed
from qonduit_client.notebook import Bar
from qonduit_client.result import Result
from qonduit_client.states import TERMINAL


class Handle:
    """One job on a server.

    Attributes:
        id: its id.
        request_id: the request id of its submission; empty for a handle made from a job's id.
        deduplicated: whether an earlier request with the same id created this job.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        job_id: int,
        *,
        known: Job | None = None,
        request_id: str = "",
        deduplicated: bool = False,
    ) -> None:
        self.id = job_id
        self.request_id = request_id
        self.deduplicated = deduplicated
        self._endpoint = endpoint
        self._known = known

    def __repr__(self) -> str:
        known = f": {Bar(self.id, self._known).summary()};" if self._known is not None else ""
        return f"<JobHandle {self.id}{known} at {self._endpoint.target}>"

    def _repr_html_(self) -> str:
        return Bar(self.id, self._known).html()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a JobHandle holds a connection and cannot be pickled: send its id ({self.id}) and call client.job(id)"
        )

    @property
    def clock(self) -> Callable[[], float]:
        """The monotonic clock of timeouts, in seconds."""
        return self._endpoint.retry.clock

    def _learn(self, event: JobEvent) -> None:
        if event.HasField("created"):
            self._known = self._known or event.created
        elif event.HasField("state_change") and event.state_change.HasField("job"):
            self._known = _with_inputs(event.state_change.job, self._known)


def _with_inputs(job: Job, known: Job | None) -> Job:
    """Return an event's job with the known inputs: events omit them, and they never change."""
    if known is None:
        return job
    whole = Job()
    whole.CopyFrom(job)
    if known.HasField("inputs"):
        whole.inputs.CopyFrom(known.inputs)
    if known.HasField("inputs_reference"):
        whole.inputs_reference.CopyFrom(known.inputs_reference)
    return whole


def inputs_of(job: Job, chunks: Iterable[bytes] = ()) -> dict[str, Any]:
    """Return the inputs of a job.

    Args:
        job: the job, as the server returns it.
        chunks: the response of ReadBuffer for `job.inputs_reference`, if the job has one.

    Raises:
        ServerFault: the chunks do not match the reference's SHA-256.
    """
    if job.HasField("inputs_reference"):
        return MessageToDict(Struct.FromString(b"".join(checked(job.inputs_reference, chunks))))
    return MessageToDict(job.inputs)


def ended(job: Job | None) -> bool:
    """Return whether the job is known and has ended."""
    return job is not None and job.state in TERMINAL


def succeeded(job: Job) -> None:
    """Raise `JobFailed` or `JobCancelled` for a failed or cancelled job."""
    if job.state == JobState.JOB_STATE_FAILED:
        raise JobFailed(job.failure, job)
    if job.state == JobState.JOB_STATE_CANCELLED:
        raise JobCancelled(job)


def by_program(stored: Iterable[Result]) -> list[Result]:
    """Return one result per program; a statevector becomes part of its program's result."""
    of_program: dict[int, Result] = {}
    found: list[Result] = []
    for each in stored:
        if each.message.HasField("statevector") and each.program_id in of_program:
            of_program[each.program_id].further.append(each)
        else:
            of_program[each.program_id] = each
            found.append(each)
    return found


def only(results: list[Result], job_id: int) -> Result:
    """Return the result of a job of one program."""
    if len(results) != 1:
        raise ValueError(f"job {job_id} has {len(results)} results; use results()")
    return results[0]
