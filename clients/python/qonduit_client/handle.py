# SPDX-License-Identifier: Apache-2.0
"""The base class of both clients' job handles, and functions for results and terminal states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.v1 import result_pb2
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.buffer import checked
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import JobCancelled, JobFailed
from qonduit_client.notebook import Bar
from qonduit_client.result import Result
from qonduit_client.states import TERMINAL

if TYPE_CHECKING:
    from qonduit_client.estimates import Estimate

Item = TypeVar("Item")
#: The fields that events omit: options, and the references that replace large ones.
_OMITTED: Final = (
    *("inputs", "noise_model", "estimator", "parameter_sets"),
    *("inputs_reference", "noise_model_reference", "estimator_reference", "parameter_sets_reference"),
    "client_data_reference",
)
#: The kinds of results that belong to another result of the same program and point.
_FURTHER: Final = ("statevector", "term_values", "compiled_circuit")


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
        #: The results of the ended job, if its stream of events contained them.
        self._final: tuple[result_pb2.Result, ...] | None = None

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

    def receive(self, event: JobEvent) -> None:
        """Update the known job, or its results, by an event of its stream."""
        self.id = event.job_id
        if event.HasField("created"):
            self._known = self._known or event.created
        elif event.HasField("state_change") and event.state_change.HasField("job"):
            self._known = _with_options(event.state_change.job, self._known)
        elif event.HasField("final_results"):
            self._final = tuple(event.final_results.results)


def _with_options(job: Job, known: Job | None) -> Job:
    """Return an event's job with the known large options: events omit them, and they never change."""
    if known is None:
        return job
    whole = Job()
    whole.CopyFrom(job)
    for field in _OMITTED:
        if known.HasField(field):
            getattr(whole, field).CopyFrom(getattr(known, field))
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


def parameter_sets_of(job: Job, chunks: Iterable[bytes] = ()) -> ParameterSets:
    """Return the parameter values of a job; as `inputs_of` for `job.parameter_sets_reference`."""
    if job.HasField("parameter_sets_reference"):
        return ParameterSets.FromString(b"".join(checked(job.parameter_sets_reference, chunks)))
    return job.parameter_sets


def client_data_of(job: Job, chunks: Iterable[bytes] = ()) -> bytes:
    """Return the client data of a job; as `inputs_of` for `job.client_data_reference`."""
    return b"".join(checked(job.client_data_reference, chunks)) if job.HasField("client_data_reference") else b""


def points_of(job: Job) -> int:
    """Return the number of points of the job's parameter values; 0 without them."""
    sets = job.parameter_sets
    return job.parameter_sets_reference.points or (len(sets.values) // len(sets.names) if sets.names else 0)


def estimates_of(results: Iterable[Result], job: Job) -> list[Estimate]:
    """Return the estimates of the programs of a job. Raises ImportError without NumPy."""
    from qonduit_client.estimates import estimate_of

    points = {run.program_id: run.points for run in job.program_runs}
    return [estimate_of(each, has_points=points.get(each.program_id, 0) > 0) for each in results]


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
    """Return one result per program and point; further results become part of it."""
    first: dict[tuple[int, int | None], Result] = {}
    found: list[Result] = []
    for each in stored:
        key = each.program_id, each.point
        if key in first and each.message.WhichOneof("result_dict") in _FURTHER:
            first[key].further.append(each)
        else:
            first[key] = each
            found.append(each)
    return found


def only(results: list[Item], job_id: int) -> Item:
    """Return the result of a job of one program."""
    if len(results) != 1:
        raise ValueError(f"job {job_id} has {len(results)} results; use results()")
    return results[0]
