# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: its services, address and threads; start, drain and stop."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2

from qonduit.v1 import (
    audit_service_pb2,
    credential_service_pb2,
    deployment_service_pb2,
    device_service_pb2,
    job_service_pb2,
    program_service_pb2,
    project_service_pb2,
    provider_service_pb2,
    result_service_pb2,
    system_service_pb2,
    usage_service_pb2,
)
from qonduit.v1.program_service_pb2 import ListLanguagesResponse
from qonduit_server.errors import StartError
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.process.memory import return_large_blocks
from qonduit_server.rpc import interceptor, listening, program_service, reflection
from qonduit_server.rpc.audit_service import AuditService
from qonduit_server.rpc.audited_calls import AuditedCalls, AuditMode
from qonduit_server.rpc.auth import principal
from qonduit_server.rpc.auth.authorization import ACCESS, Access
from qonduit_server.rpc.buffer_streams import BufferStreams
from qonduit_server.rpc.caller_budget import CallerBudget
from qonduit_server.rpc.caller_limits import CallerLimits
from qonduit_server.rpc.credential_service import CredentialService
from qonduit_server.rpc.deployment_service import DeploymentService
from qonduit_server.rpc.device_comparison import AnalyzeRequest, DeviceComparison
from qonduit_server.rpc.device_service import DeviceService
from qonduit_server.rpc.health import Health
from qonduit_server.rpc.interceptor import Handler, HandlerContext, StreamLimiter
from qonduit_server.rpc.job_service import JobService
from qonduit_server.rpc.job_validation import CompileRequest, EstimateRequest, JobValidator
from qonduit_server.rpc.job_watches import JobWatches
from qonduit_server.rpc.program_calls import ProgramCalls
from qonduit_server.rpc.program_service import ProgramService, Translate
from qonduit_server.rpc.project_service import ProjectService
from qonduit_server.rpc.provider_service import ProviderService
from qonduit_server.rpc.reflection import Reflection
from qonduit_server.rpc.request_receiver import MOST_WAITING, RequestReceiver
from qonduit_server.rpc.result_service import ResultService
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.server_program_checks import CheckRequest, ServerProgramChecker
from qonduit_server.rpc.stream_authorization import StreamAuthorization
from qonduit_server.rpc.system_service import ListWorkers, SystemService, no_workers
from qonduit_server.rpc.unread_responses import UnreadResponses
from qonduit_server.rpc.usage_service import UsageService
from qonduit_server.store.database import Database
from qonduit_server.store.memberships import MembershipCache

_FILES: Final = (
    audit_service_pb2,
    credential_service_pb2,
    deployment_service_pb2,
    device_service_pb2,
    job_service_pb2,
    program_service_pb2,
    project_service_pb2,
    provider_service_pb2,
    result_service_pb2,
    system_service_pb2,
    usage_service_pb2,
)
#: Every service of the contract, by full name.
SERVICES: Final[dict[str, ServiceDescriptor]] = {
    service.full_name: service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
}

#: The maximum number of open calls of one connection. gRPC's core counts a reset call until it has released it, so the
#: limit also holds for a connection that opens and resets calls in a loop.
MAX_CONCURRENT_STREAMS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class RpcOptions:
    """The options of the gRPC server, and the components that it uses beside the store.

    Attributes:
        listen: HOST:PORT, port 0 selects a free port; or unix:PATH.
        credentials: those of TLS; None for plain text.
        limits: the limits of calls; GetServerInfo reports them.
        threads: the number of unary calls that are handled concurrently. Open streams need no thread.
        reflection: whether clients may read the contract from the server.
        public_reflection: whether they need no authentication for it.
        public_health: whether the health service needs no authentication.
        features: the optional features that are enabled; GetServerInfo reports them.
        languages: the supported languages of programs; ListLanguages reports them.
        translate: translates a program.
        compile_job: compiles the programs of a `validate_only` job; without it they are not parsed.
        estimate_cost: adds the estimates of a vendor to the submissions of a `validate_only` job.
        check_program: checks server programs without running them; without it they are disabled.
        analyze_job: reads the programs of a job to compare devices; without it CompareDevices is disabled.
        workers: lists the worker processes of this server.
        refresh_devices: reads the description of a provider again, by its name, and stores it; with a credential, and
            its id if it is stored, the devices that its vendor lists.
        authenticate: returns the principal of a call.
        reject_early: rejects calls that certainly have no valid token before their request is received.
        stream_send_timeout_seconds: time a client may take to read an event before its stream is cancelled; six times
            as long for a chunk of a buffer or the response of a unary call, which are larger.
        request_receive_timeout_seconds: time in which a request must be complete.
        audit: what the audit log contains.
        trusted_proxies: the addresses of proxies that name their callers in the metadata x-forwarded-for.
        everyone_creates_projects: whether every caller may create projects, or only admins.
        observer: receives the ends of calls, and the delays of events.
    """

    listen: str = "127.0.0.1:0"
    credentials: grpc.ServerCredentials | None = None
    limits: Limits = field(default_factory=Limits)
    threads: int = 24
    reflection: bool = True
    public_reflection: bool = True
    public_health: bool = True
    features: tuple[str, ...] = ()
    languages: ListLanguagesResponse = field(default_factory=ListLanguagesResponse)
    translate: Translate = program_service.translation_disabled
    compile_job: CompileRequest | None = None
    estimate_cost: EstimateRequest | None = None
    analyze_job: AnalyzeRequest | None = None
    check_program: CheckRequest | None = None
    workers: ListWorkers = no_workers
    refresh_devices: Callable[[str, str, int], object] | None = None
    authenticate: principal.Authenticate = principal.anonymous
    reject_early: principal.RejectEarly = principal.reject_none
    stream_send_timeout_seconds: float = 10.0
    request_receive_timeout_seconds: float = 120.0
    audit: AuditMode = "off"
    trusted_proxies: tuple[str, ...] = ()
    everyone_creates_projects: bool = True
    observer: Observer = UNOBSERVED


class RpcServer:
    """A gRPC server of a store. Its services, streams and thread pools live from `start` to `stop`.

    `port` is the port that it listens on, also if the options request port 0.
    """

    def __init__(self, db: Database, options: RpcOptions) -> None:
        self.port = 0
        self._options = options
        self._stopping = threading.Event()
        self._watches = JobWatches(db, slow_reader=options.stream_send_timeout_seconds, observer=options.observer)
        self._health = Health(SERVICES)
        db.health.subscribe(self._health.set_database_available)
        #: Six times as long as for an event: buffers' chunks and unary responses are larger.
        patience = 6 * options.stream_send_timeout_seconds
        unread = UnreadResponses(patience=patience)
        limits = options.limits
        audit = AuditedCalls(db, options.audit, options.trusted_proxies)
        self._most_waiting = max(MOST_WAITING, limits.max_streams)
        self._receiver = RequestReceiver(
            options.request_receive_timeout_seconds,
            unread,
            limits.max_request_bytes,
            audit,
            self._most_waiting,
            options.reject_early,
            options.observer,
        )
        threads = options.threads
        self._unary_pool = self._receiver.pool(threads, "rpc")
        self._open_pool = self._receiver.pool(max(2, threads // 2), "rpc-open")
        # Translations wait in a separate pool, so that a burst of them does not delay other calls.
        self._translation_pool = self._receiver.pool(program_service.THREADS, "rpc-translate")
        self._reflection_pool = ThreadPoolExecutor(reflection.THREADS, thread_name_prefix="rpc-reflection")
        self._read_pool = ThreadPoolExecutor(max(2, threads // 4), thread_name_prefix="rpc-buffer-reader")
        # Calls with `validate_only` hold their threads for seconds: most threads stay free for other calls.
        self._validations = max(1, threads // 3)
        self._validation_pool = ThreadPoolExecutor(self._validations, thread_name_prefix="rpc-validate")
        self._callers = CallerLimits(db.quotas.of, share=db.share_use)
        self._stop_counting = db.notifications.subscribe(self._callers.on_notification)
        self._budget = CallerBudget(limits.max_caller_preparations, limits.max_caller_preparation_seconds)
        self._buffer_streams = BufferStreams(db, self._read_pool, self._callers, patience=patience)
        self._limiter = StreamLimiter(limits.max_streams)
        self._authorization = StreamAuthorization()
        self._memberships = MembershipCache(db)
        context = HandlerContext(
            options.authenticate,
            self._memberships.get,
            limits,
            self._open_pool,
            self._limiter,
            self._callers,
            unread,
            audit,
            self._authorization,
            options.observer,
        )
        self._server = grpc.server(
            self._unary_pool,
            handlers=[_Methods(self._handlers(db, context), options.observer)],
            options=_channel_arguments(options, self._most_waiting),
        )

    def _handlers(self, db: Database, context: HandlerContext) -> dict[str, Handler]:
        """Return the handler of each method by its path, "/package.Service/Method"."""
        options = self._options
        limits = options.limits
        budget = self._budget
        validator = JobValidator(db, limits, options.compile_job, self._validations, budget, options.estimate_cost)
        comparison = DeviceComparison(db, limits, options.analyze_job, budget)
        checker = ServerProgramChecker(options.check_program, budget)
        services: dict[str, object] = {
            "qonduit.v1.AuditService": AuditService(db),
            "qonduit.v1.CredentialService": CredentialService(db),
            "qonduit.v1.DeploymentService": DeploymentService(db, limits),
            "qonduit.v1.DeviceService": DeviceService(db, limits, comparison, validator, options.refresh_devices),
            "qonduit.v1.JobService": JobService(
                *(db, limits, self._watches, self._stopping, validator, comparison, checker, self._validation_pool)
            ),
            "qonduit.v1.ProgramService": ProgramService(
                limits, self._stopping, options.languages, options.translate, budget
            ),
            "qonduit.v1.ProjectService": ProjectService(
                db, self._memberships, everyone_creates=options.everyone_creates_projects
            ),
            "qonduit.v1.ProviderService": ProviderService(db),
            "qonduit.v1.ResultService": ResultService(db, self._buffer_streams),
            "qonduit.v1.SystemService": SystemService(db, options.limits, list(options.features), options.workers),
            "qonduit.v1.UsageService": UsageService(db, self._callers),
        }
        self.program_calls = ProgramCalls(
            db,
            limits,
            {name.rpartition(".")[2]: service for name, service in services.items()},
            self._watches,
            self._memberships,
            context.audit,
            options.observer,
        )
        handlers: dict[str, Handler] = {}
        if options.reflection:
            access = Access.PUBLIC if options.public_reflection else Access.ANY_CALLER
            served = Reflection((*SERVICES, "grpc.health.v1.Health"))
            handlers |= served.handlers(
                self._reflection_pool, lambda call, it: context.admit(call, it, access), options.observer
            )
        for name, service in SERVICES.items():
            pool = self._translation_pool if name == "qonduit.v1.ProgramService" else None
            handlers |= _handlers(context, service, services[name], pool)
        health_service: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
        # A separate limit: clients' streams must not block an operator's health checks.
        own_limit = replace(context, limiter=StreamLimiter(options.limits.max_streams))
        return handlers | _handlers(own_limit, health_service, self._health, public=options.public_health)

    def start(self) -> None:
        """Listen and serve calls.

        Raises:
            StartError: the address cannot be used.
        """
        try:
            self.port = listening.bind(self._server, self._options.listen, self._options.credentials)
        except StartError:
            self._release()
            raise
        self._server.start()

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits. Those of requests and of streams stay as they were at the start."""
        self._options.limits.adopt(limits)
        self._budget.set_limits(limits.max_caller_preparations, limits.max_caller_preparation_seconds)

    @property
    def target(self) -> str:
        """The address that it listens on, with the port that was selected for port 0."""
        listen = self._options.listen
        return f"{listen.rpartition(':')[0]}:{self.port}" if self.port else listen

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._options.limits

    @property
    def streams(self) -> int:
        """The number of open watches."""
        return len(self._watches)

    @property
    def readings(self) -> int:
        """The number of open buffer streams."""
        return len(self._buffer_streams)

    def drain(self) -> None:
        """Accept no new jobs, end every stream with UNAVAILABLE, report NOT_SERVING; still serve other calls."""
        self._stopping.set()
        self._health.drain()
        self._watches.drain()
        self._buffer_streams.drain()

    def stop(self, grace: float) -> None:
        """Drain, reject new calls, wait up to `grace` seconds for running calls, then end."""
        self.drain()
        self._server.stop(grace).wait()
        self._release()

    def _release(self) -> None:
        """End the threads."""
        self._stop_counting()
        self._authorization.stop()
        self._watches.stop()
        self._buffer_streams.stop()
        self._receiver.stop()
        for pool in (self._reflection_pool, self._read_pool, self._validation_pool):
            pool.shutdown()


def serve(db: Database, options: RpcOptions | None = None) -> RpcServer:
    """Serve a store over gRPC; the server accepts calls when this returns.

    Raises:
        StartError: the address cannot be used.
    """
    return_large_blocks()
    server = RpcServer(db, options or RpcOptions())
    server.start()
    return server


def _channel_arguments(options: RpcOptions, most_waiting: int) -> Sequence[tuple[str, int]]:
    """Return the channel arguments of gRPC's core. `most_waiting`: calls that may wait for the RequestReceiver."""
    return (
        # The server rejects a request slightly over the limit with details; gRPC rejects a much larger one.
        ("grpc.max_receive_message_length", options.limits.max_request_bytes + 1024**2),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        # With the default of 1,000, gRPC cancels calls of larger bursts.
        ("grpc.server.max_pending_requests", most_waiting),
        ("grpc.server.max_pending_requests_hard_limit", most_waiting),
        # `rpc/decompression.py` decompresses requests when memory is available.
        ("grpc.per_message_decompression", 0),
        # Windows keep their initial size until a request is received: otherwise a fast connection could buffer
        # megabytes in each of its waiting calls.
        ("grpc.http2.bdp_probe", 0),
        # The server detects a client that vanished after 80 s; clients may send keepalive pings every 10 s.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        # A connection without a handshake ends after 20 s, an idle one after ten minutes.
        ("grpc.server_handshake_timeout_ms", int(min(20.0, options.request_receive_timeout_seconds) * 1e3)),
        ("grpc.max_connection_idle_ms", 600_000),
    )


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method by its path."""

    def __init__(self, handlers: dict[str, Handler], observer: Observer) -> None:
        self._handlers = handlers
        self._unknown = interceptor.unimplemented(observer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _handlers(
    context: HandlerContext,
    descriptor: ServiceDescriptor,
    service: object,
    threads: ThreadPoolExecutor | None = None,
    *,
    public: bool = True,
) -> dict[str, Handler]:
    """Return the handlers of a service: its method `get_job` handles `GetJob`.

    Every method must exist, and have an access in the table of `rpc/auth/authorization.py`.

    Args:
        context: the components of handlers.
        descriptor: the service.
        service: the object with its methods.
        threads: the threads of unary calls; None for the default ones.
        public: False if its public methods need authentication.
    """
    return {
        f"/{descriptor.full_name}/{method.name}": _handler(
            context, method, getattr(service, _snake(method.name)), _access(method, public), threads
        )
        for method in descriptor.methods
    }


def _access(method: MethodDescriptor, public: bool) -> Access:
    access = ACCESS[f"{method.containing_service.full_name}/{method.name}"]
    return access if public or access is not Access.PUBLIC else Access.ANY_CALLER


def _handler(
    context: HandlerContext,
    method: MethodDescriptor,
    function: Any,
    access: Access,
    threads: ThreadPoolExecutor | None,
) -> Handler:
    request_type = message_factory.GetMessageClass(method.input_type)
    name = f"{method.containing_service.name}/{method.name}"
    if method.server_streaming:
        return interceptor.streaming(context, name, request_type, function, access)
    return interceptor.unary(context, name, request_type, function, access, threads)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
