# SPDX-License-Identifier: Apache-2.0
"""The calls of server programs: what a client would send over the network, answered without one.

A program calls with the rights of the user who submitted it, and has no role. It reads the catalogue, and it submits,
watches, cancels and reads jobs of its own: its children. It reaches no other object. The services answer as they answer
clients, so that a child is checked, logged and audited as any job.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from google.protobuf.message import Message

from qonduit.execution.v1.program_pb2 import ProgramCall, ProgramReply
from qonduit.v1 import device_service_pb2, job_service_pb2, provider_service_pb2, result_service_pb2, system_service_pb2
from qonduit.v1.job_pb2 import Job, JobType
from qonduit_server.errors import CallError, InvalidArgument, NotFound, PermissionDenied
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.rpc import request_validation
from qonduit_server.rpc.audited_calls import AuditedCalls
from qonduit_server.rpc.auth.authorization import ACCESS, authorize
from qonduit_server.rpc.auth.principal import UNAUTHENTICATED, Principal
from qonduit_server.rpc.call_context import CallContext, Child
from qonduit_server.rpc.error_status import outcome, status_of
from qonduit_server.rpc.job_watches import JobWatches
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.rpc.watch import Wanted
from qonduit_server.store import catalogue, stored_buffers
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import child_jobs, job_rows
from qonduit_server.store.memberships import MembershipCache
from qonduit_server.store.ownership import owner_of

_CREATE: Final = "JobService/CreateJob"
#: The unary methods of a program; the requests of those of a job contain the id of a child.
_METHODS: Final[Mapping[str, type[Message]]] = {
    "DeviceService/GetDevice": device_service_pb2.GetDeviceRequest,
    "DeviceService/GetDeviceCalibration": device_service_pb2.GetDeviceCalibrationRequest,
    "DeviceService/GetDeviceStatus": device_service_pb2.GetDeviceStatusRequest,
    "DeviceService/ListDevices": device_service_pb2.ListDevicesRequest,
    "JobService/CancelJob": job_service_pb2.CancelJobRequest,
    _CREATE: job_service_pb2.CreateJobRequest,
    "JobService/GetJob": job_service_pb2.GetJobRequest,
    "ProviderService/GetProvider": provider_service_pb2.GetProviderRequest,
    "ProviderService/ListProviders": provider_service_pb2.ListProvidersRequest,
    "ResultService/ListResults": result_service_pb2.ListResultsRequest,
    "SystemService/GetServerInfo": system_service_pb2.GetServerInfoRequest,
}
#: Those that answer with several messages.
_WATCH: Final = "JobService/WatchJob"
_READ: Final = "ResultService/ReadBuffer"
#: The field with the id of a job.
_JOB_FIELDS: Final = {"JobService/CancelJob": "id", "JobService/GetJob": "id", "ResultService/ListResults": "job_id"}
#: The types of children. A program that waited for a program could wait for ever.
_CHILD_TYPES: Final = (
    JobType.JOB_TYPE_UNSPECIFIED,
    JobType.JOB_TYPE_RUNNER,
    JobType.JOB_TYPE_SAMPLER,
    JobType.JOB_TYPE_ESTIMATOR,
)
#: The largest part of a buffer in one reply, in bytes.
_PART_BYTES: Final = 1024**2
#: A watch of a program sends no heartbeats.
_NEVER: Final = 1e9
#: Names the requests of programs.
_NAMESPACE: Final = uuid.UUID("6f6e6475-6974-4d70-8f67-72616d000001")

#: Receives the reply to a call, in any thread.
Reply = Callable[[ProgramReply], None]


class ProgramCalls:
    """Answers the calls of the server programs of this server.

    Args:
        db: the database.
        limits: of calls.
        services: the services by name: "JobService".
        watches: watch the children.
        memberships: the projects of users.
        audit: records the calls.
        observer: receives the ends of calls.
    """

    def __init__(
        self,
        db: Database,
        limits: Limits,
        services: Mapping[str, object],
        watches: JobWatches,
        memberships: MembershipCache,
        audit: AuditedCalls,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.db = db
        self.limits = limits
        self.services = services
        self.watches = watches
        self.memberships = memberships
        self.audit = audit
        self.observer = observer

    def open(self, job_id: int, attempt: int, credential: str, max_children: int) -> ProgramSession:
        """Return the session of a program that runs.

        Args:
            job_id: its job.
            attempt: the attempt.
            credential: the credential that the request of its job contained; empty without.
            max_children: the maximum number of jobs that it submits; 0 means no limit.
        """
        return ProgramSession(self, job_id, attempt, credential, max_children)


class ProgramSession:
    """The calls of one program, which makes one at a time. A call returns before its reply if it waits for a job.

    A repeated program makes the same calls in the same order, as far as it depends on its inputs alone. So the number
    of a submission and its content name it: an attempt after a lost one finds the jobs of that, and their results. If a
    submission differs, the remaining jobs of earlier attempts are cancelled: the program does not wait for them.

    Args:
        calls: the services.
        job_id: as of `ProgramCalls.open`, like the rest.
    """

    def __init__(self, calls: ProgramCalls, job_id: int, attempt: int, credential: str, max_children: int) -> None:
        self._calls = calls
        self._job_id = job_id
        self._attempt = attempt
        self._credential = credential
        self._max_children = max_children
        #: The job, and the user who submitted it; empty before the first call.
        self._job = Job()
        self._principal = UNAUTHENTICATED
        self._submitted = 0
        self._children: set[int] = set()
        self._buffers: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: _CollectedStream | None = None
        self._closed = False
        #: The jobs of earlier attempts that have not ended, and that this one has not submitted again.
        self._earlier: set[int] = set()

    def call(self, call: ProgramCall, reply: Reply) -> None:
        """Answer a call, now or later. An earlier call that still waits is dropped."""
        self._drop()
        context = CallContext(call.method[:100], (), observer=self._calls.observer)
        context.peer = f"program:{self._job_id}"
        responses, error = outcome(context.request_id, self._responses, call, context, reply)
        if responses is None and error is None:
            return
        _end(context, error, self._calls.audit)
        reply(_reply(call.id, responses or (), error, context))
        if call.follow and call.method == _CREATE and error is None:
            # After the first reply, so that the second one follows it.
            self._follow(call, context, reply)

    def close(self) -> None:
        """End the session: no call is answered any more."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            stream, self._waiting = self._waiting, None
        if stream is not None:
            stream.close()

    def _responses(self, call: ProgramCall, context: CallContext, reply: Reply) -> list[bytes] | None:
        """Return the responses to a call; None if they follow."""
        if not self._job.id:
            self._load()
        context.principal = self._principal
        if call.method == _WATCH:
            self._watch(call, context, reply)
            return None
        if call.method == _READ:
            return [self._part(call, context).SerializeToString()]
        if call.method not in _METHODS:
            raise PermissionDenied(f"a server program cannot call {call.method:.100}")
        access = ACCESS[f"qonduit.v1.{call.method}"]
        authorize(access, self._principal, call.method)
        self._read_memberships(context)
        request: Any = request_validation.parse(
            _METHODS[call.method], call.request, self._calls.limits.max_request_bytes
        )
        if call.method == _CREATE:
            self._prepare(request, context)
        elif field := _JOB_FIELDS.get(call.method):
            self._check_child(getattr(request, field))
        service, _, method = call.method.partition("/")
        with self._calls.audit.answering(context, access) as made:
            response: Any = getattr(self._calls.services[service], _snake(method))(request, context)
            made.append(response)
        if call.method == _CREATE:
            self._note_child(response.job, deduplicated=response.deduplicated)
        elif call.method == "ResultService/ListResults":
            self._buffers.update(each.buffer.name for each in response.results if each.HasField("buffer"))
        return [response.SerializeToString()]

    def _load(self) -> None:
        """Read the job. Raises NotFound, Unavailable."""
        db = self._calls.db
        job = job_rows.get(db, None, self._job_id)
        self._earlier = set(child_jobs.active(db, job.id)) if self._attempt > 1 else set()
        self._principal = Principal(job.executed_by, authentication="program", credential=f"jobs/{job.id}")
        self._job = job

    def _read_memberships(self, context: CallContext) -> None:
        context.memberships = self._calls.memberships.get(self._principal.name)
        context.scope = context.memberships.readable

    # Children.

    def _prepare(self, request: job_service_pb2.CreateJobRequest, context: CallContext) -> None:
        """Make a submission one of a child: of the project and with the credential of the program. Raises CallError."""
        if request.validate_only:
            raise _refused("validate_only", "a server program submits jobs, and cannot check them")
        if request.job.type not in _CHILD_TYPES:
            raise _refused("job.type", "a server program submits jobs of the types RUNNER, SAMPLER and ESTIMATOR")
        if request.job.HasField("required_versions"):
            # Their queue counts them as running jobs, for which a quota could have no room while the program waits.
            raise _refused("job.required_versions", "the jobs of a server program cannot require versions")
        if request.credential or request.credential_id:
            raise _refused("credential", "the jobs of a server program use the credential of the program")
        request.job.project = self._job.project
        request.request_id = ""
        # Deterministic: equal requests of two attempts must have equal bytes.
        content = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        request.request_id = str(uuid.uuid5(_NAMESPACE, f"{self._job.id}/{self._submitted}/{content}"))
        self._add_credential(request)
        context.child = Child(self._job.id, self._max_children)

    def _add_credential(self, request: job_service_pb2.CreateJobRequest) -> None:
        name = request.device.partition("/")[0]
        if request.job.executed_on_id:
            device = catalogue.device(self._calls.db, request.job.executed_on_id)
            name = catalogue.provider(self._calls.db, device.provider_id).name
        if name != self._job.device.partition("/")[0]:
            return
        if self._job.credential_id:
            request.credential_id = self._job.credential_id
        elif self._job.one_time_credential:
            request.credential = self._credential

    def _note_child(self, job: Job, *, deduplicated: bool) -> None:
        self._submitted += 1
        self._children.add(job.id)
        for option in ("client_data", "inputs", "parameter_sets", "noise_model", "estimator"):
            if job.HasField(f"{option}_reference"):
                self._buffers.add(getattr(job, f"{option}_reference").name)
        if deduplicated:
            self._earlier.discard(job.id)
        elif self._earlier:
            child_jobs.cancel(self._calls.db, sorted(self._earlier))
            self._earlier.clear()

    def _check_child(self, job_id: int) -> None:
        if job_id not in self._children:
            raise NotFound("job", job_id)

    def _watch(self, call: ProgramCall, context: CallContext, reply: Reply) -> None:
        """Reply with the last event of a child and its results, once it has ended."""
        request: Any = request_validation.parse(
            job_service_pb2.WatchJobRequest, call.request, self._calls.limits.max_request_bytes
        )
        self._check_child(request.job_id)
        context.job_id = request.job_id

        def ended(found: list[bytes], error: CallError | None) -> None:
            self._note_results(found)
            _end(context, error, self._calls.audit)
            reply(_reply(call.id, found, error, context))

        self._open(context, ended, final_results=request.final_results)

    def _follow(self, call: ProgramCall, context: CallContext, reply: Reply) -> None:
        """Reply to the call that created a child again, once the child has ended, as to a watch."""

        def ended(found: list[bytes], error: CallError | None) -> None:
            self._note_results(found)
            reply(_reply(call.id, found, error, context))

        _, error = outcome(context.request_id, partial(self._open, context, ended, final_results=True))
        if error is not None:
            ended([], error)

    def _open(
        self, context: CallContext, ended: Callable[[list[bytes], CallError | None], None], *, final_results: bool
    ) -> None:
        """Watch the job of a call until it has ended."""
        stream = _CollectedStream(context, ended)
        with self._lock:
            self._waiting = stream
        if self._closed:
            self._drop()
            return
        wants = Wanted(final_results=final_results, omit_intermediate=True)
        # Duck-typed: it is the end of a stream without a connection.
        self._calls.watches.open(cast("Stream", stream), context.job_id, 0, _NEVER, fresh=True, wants=wants)

    def _note_results(self, found: list[bytes]) -> None:
        for each in found:
            event = job_service_pb2.WatchJobResponse.FromString(each).event
            self._buffers.update(one.buffer.name for one in event.final_results.results if one.HasField("buffer"))

    def _part(self, call: ProgramCall, context: CallContext) -> result_service_pb2.ReadBufferResponse:
        """Return the next part of a buffer of a child; an empty one at its end."""
        request: Any = request_validation.parse(
            result_service_pb2.ReadBufferRequest, call.request, self._calls.limits.max_request_bytes
        )
        if request.name not in self._buffers:
            raise NotFound("buffer", request.name[:200])
        self._read_memberships(context)
        buffer = stored_buffers.find(self._calls.db, frozenset({owner_of(self._job)}), request.name)
        place, skip = divmod(request.offset, buffer.chunk_bytes)
        data = b"" if request.offset >= buffer.size_bytes else buffer.read(place)
        if data is None:
            raise NotFound("buffer", request.name[:200])
        return result_service_pb2.ReadBufferResponse(offset=request.offset, data=data[skip : skip + _PART_BYTES])


class _CollectedStream:
    """The end of a watch: collects its messages until it ends. See `Stream`.

    Args:
        call: the call.
        done: receives the messages and the error, once.
    """

    def __init__(self, call: CallContext, done: Callable[[list[bytes], CallError | None], None]) -> None:
        self.call = call
        self.sending_since = 0.0
        self._done: Callable[[list[bytes], CallError | None], None] | None = done
        self._messages: list[bytes] = []
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def on_close(self, callback: Callable[[], None]) -> bool:
        """See `Stream`."""
        with self._lock:
            if self._done is None:
                return False
            self._callbacks.append(callback)
        return True

    def send(self, message: bytes, done: Callable[[], None]) -> bool:
        """See `Stream`."""
        if self._done is None:
            return False
        self._add(message)
        done()
        return True

    def finish(self, message: bytes | None = None) -> None:
        """See `Stream`."""
        if message is not None:
            self._add(message)
        self._end(None, answers=True)

    def fail(self, error: CallError) -> None:
        """See `Stream`."""
        self._end(error, answers=True)

    def cut(self, error: CallError) -> None:
        """See `Stream`."""
        self._end(error, answers=True)

    def close(self) -> None:
        """End without an answer."""
        self._end(None, answers=False)

    def _add(self, message: bytes) -> None:
        event = job_service_pb2.WatchJobResponse.FromString(message).event
        if not event.HasField("heartbeat"):
            self._messages.append(message)

    def _end(self, error: CallError | None, *, answers: bool) -> None:
        with self._lock:
            done, self._done = self._done, None
            callbacks, self._callbacks = self._callbacks, []
        if done is None:
            return
        for callback in callbacks:
            callback()
        if answers:
            done(self._messages, error)


def _refused(field: str, message: str) -> InvalidArgument:
    return InvalidArgument.of(field, "program.child", f"{field}: {message}")


def _end(context: CallContext, error: CallError | None, audit: AuditedCalls) -> None:
    context.ended(error)
    if error is not None:
        audit.refused(context, error)


def _reply(
    number: int, responses: list[bytes] | tuple[bytes, ...], error: CallError | None, context: CallContext
) -> ProgramReply:
    if error is None:
        return ProgramReply(id=number, responses=responses)
    return ProgramReply(id=number, status=status_of(error, context.request_id)[2])


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
