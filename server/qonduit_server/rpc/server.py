# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: which services there are, on which address, with which threads; start, drain, stop."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2

from qonduit.v1 import (
    deployment_service_pb2,
    device_service_pb2,
    job_service_pb2,
    program_service_pb2,
    provider_service_pb2,
    result_service_pb2,
    system_service_pb2,
)
from qonduit.v1.program_service_pb2 import ListLanguagesResponse
from qonduit_server.errors import StartError
from qonduit_server.process.memory import return_large_blocks
from qonduit_server.rpc import auth, interceptor, program_service, reflection
from qonduit_server.rpc.buffer_streams import BufferStreams
from qonduit_server.rpc.deployment_service import DeploymentService
from qonduit_server.rpc.device_service import DeviceService
from qonduit_server.rpc.health import Health
from qonduit_server.rpc.interceptor import Handler, HandlerContext, StreamLimiter
from qonduit_server.rpc.job_service import JobService
from qonduit_server.rpc.job_validation import CompileRequest, JobValidator
from qonduit_server.rpc.job_watches import JobWatches
from qonduit_server.rpc.program_service import ProgramService, Translate
from qonduit_server.rpc.provider_service import ProviderService
from qonduit_server.rpc.reflection import Reflection
from qonduit_server.rpc.request_receiver import MOST_WAITING, RequestReceiver
from qonduit_server.rpc.result_service import ResultService
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.system_service import ListWorkers, SystemService, no_workers
from qonduit_server.rpc.unread_responses import UnreadResponses
from qonduit_server.store.database import Database

_FILES: Final = (
    deployment_service_pb2,
    device_service_pb2,
    job_service_pb2,
    program_service_pb2,
    provider_service_pb2,
    result_service_pb2,
    system_service_pb2,
)
#: Every service of the contract, by full name.
SERVICES: Final[dict[str, ServiceDescriptor]] = {
    service.full_name: service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
}

#: Calls that one connection may have open. gRPC's core counts those that were reset among them until it is done with
#: them, so that a connection which opens and resets calls in a loop has no more either.
MAX_CONCURRENT_STREAMS: Final = 1000


class RpcServer:
    """A running server. `port` is the one it listens on, also where 0 was asked for."""

    def __init__(
        self, server: grpc.Server, port: int, watching: JobWatches, readings: BufferStreams, health: Health,
        stopping: threading.Event,
        limiter: StreamLimiter, arrivals: RequestReceiver, pools: Sequence[ThreadPoolExecutor],
    ) -> None:  # fmt: skip
        self.port = port
        self._server = server
        self._watching = watching
        self._readings = readings
        self._health = health
        self._stopping = stopping
        self._limiter = limiter
        self._arrivals = arrivals
        self._pools = pools

    @property
    def streams(self) -> int:
        """How many jobs are being watched now."""
        return len(self._watching)

    @property
    def readings(self) -> int:
        """How many buffers are being read now."""
        return len(self._readings)

    def drain(self) -> None:
        """Take no new jobs, end every stream with UNAVAILABLE, report NOT_SERVING; other calls are still answered."""
        self._stopping.set()
        self._health.drain()
        self._watching.drain()
        self._readings.drain()

    def stop(self, grace: float) -> None:
        """Drain, refuse new calls, give those under way `grace` seconds, end."""
        self.drain()
        self._server.stop(grace).wait()
        self._watching.stop()
        self._readings.stop()
        self._arrivals.stop()
        for pool in self._pools:
            pool.shutdown()


def serve(
    db: Database,
    *,
    listen: str = "127.0.0.1:0",
    limits: Limits | None = None,
    threads: int = 24,
    reflecting: bool = True,
    features: Iterable[str] = (),
    languages: ListLanguagesResponse | None = None,
    translate: Translate = program_service.translation_disabled,
    compile_job: CompileRequest | None = None,
    workers: ListWorkers = no_workers,
    authenticate: auth.Authenticate = auth.caller,
    slow_reader: float = 10.0,
    slow_request: float = 120.0,
) -> RpcServer:
    """Serve a store over gRPC.

    Args:
        listen: HOST:PORT; port 0 takes a free one.
        limits: what is allowed; told by GetServerInfo.
        threads: how many unary calls are answered at once. Streams need none while they are open.
        reflecting: whether clients may ask for the contract; those that know it need no reflection.
        features: optional abilities that are switched on, told by GetServerInfo.
        languages: what programs are read and written in, told by ListLanguages.
        translate: translates a program.
        compile_job: compiles the programs of a job that is only validated; without it they are not read.
        workers: lists the worker processes of this server.
        authenticate: names the caller from a call's metadata.
        slow_reader: seconds a reader may take to make room for an event before it is cut off; six times as many for a
            piece of a buffer or the response of a unary call, which are larger.
        slow_request: seconds a request may take to arrive.

    Raises:
        StartError: the address cannot be used.
    """
    limits = limits or Limits()
    return_large_blocks()
    stopping = threading.Event()
    watching = JobWatches(db, slow_reader=slow_reader)
    health = Health(SERVICES)
    db.health.subscribe(health.database)
    unread = UnreadResponses(patience=6 * slow_reader)
    most_waiting = max(MOST_WAITING, limits.max_streams)
    arrivals = RequestReceiver(slow_request, unread, limits.max_request_bytes, most_waiting)
    unary_pool = arrivals.pool(threads, "rpc")
    openers = arrivals.pool(max(2, threads // 2), "rpc-open")
    translating = arrivals.pool(program_service.THREADS, "rpc-translate")
    reflectors = ThreadPoolExecutor(reflection.THREADS, thread_name_prefix="rpc-reflection")
    readers = ThreadPoolExecutor(max(2, threads // 4), thread_name_prefix="rpc-read")
    # Calls that validate hold their threads for seconds: most threads are left to others.
    validating = max(1, threads // 3)
    validators = ThreadPoolExecutor(validating, thread_name_prefix="rpc-validate")
    compiler = JobValidator(db, limits, compile_job, validating)
    handler_context = HandlerContext(authenticate, limits, openers, StreamLimiter(limits.max_streams), unread)
    readings = BufferStreams(db, readers, patience=6 * slow_reader)
    servants: dict[str, object] = {
        "qonduit.v1.DeploymentService": DeploymentService(db, limits),
        "qonduit.v1.DeviceService": DeviceService(db),
        "qonduit.v1.JobService": JobService(db, limits, watching, stopping, compiler, validators),
        "qonduit.v1.ProgramService": ProgramService(limits, stopping, languages or ListLanguagesResponse(), translate),
        "qonduit.v1.ProviderService": ProviderService(db),
        "qonduit.v1.ResultService": ResultService(db, readings),
        "qonduit.v1.SystemService": SystemService(limits, list(features), db.kind, workers),
    }
    handlers = Reflection((*SERVICES, "grpc.health.v1.Health")).handlers(reflectors) if reflecting else {}
    for name, service in SERVICES.items():
        # Translations wait in threads of their own, so that no burst of them delays other calls.
        own = translating if name == "qonduit.v1.ProgramService" else None
        handlers |= _handlers(handler_context, service, servants[name], own)
    health_service: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
    # Whoever looks after servers is not kept out by those who use them.
    handlers |= _handlers(replace(handler_context, limiter=StreamLimiter(limits.max_streams)), health_service, health)

    server = grpc.server(
        unary_pool,
        handlers=[_Methods(handlers)],
        options=(
            # A request a little over the limit is answered with details; one far over it is not even received.
            ("grpc.max_receive_message_length", limits.max_request_bytes + 1024**2),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
            # Calls that wait for the `RequestReceiver`. gRPC's default of 1,000 answers larger bursts with CANCELLED.
            ("grpc.server.max_pending_requests", most_waiting),
            ("grpc.server.max_pending_requests_hard_limit", most_waiting),
            # Requests are inflated when there is room for them (`rpc/inflation.py`).
            ("grpc.per_message_decompression", 0),
            # Windows stay as small as they begin until a request is received: else a connection that sends fast could
            # leave megabytes in each of its calls that wait.
            ("grpc.http2.bdp_probe", 0),
            # A client that is gone without a word is noticed after 80 s; clients may ask for signs of life every 10 s.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # A connection that never says what it is ends after 20 s, one that nobody uses after ten minutes.
            ("grpc.server_handshake_timeout_ms", int(min(20.0, slow_request) * 1e3)),
            ("grpc.max_connection_idle_ms", 600_000),
        ),
    )
    pools = (reflectors, readers, validators)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        watching.stop()
        readings.stop()
        arrivals.stop()
        for pool in pools:
            pool.shutdown()
        raise StartError(
            f"cannot listen on {listen}: the address is in use, or not one of this machine's (HOST:PORT)"
        ) from error
    server.start()
    return RpcServer(server, port, watching, readings, health, stopping, handler_context.limiter, arrivals, pools)


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method by its name."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers
        self._unknown = interceptor.unimplemented()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _handlers(
    handler_context: HandlerContext,
    service: ServiceDescriptor,
    servant: object,
    threads: ThreadPoolExecutor | None = None,
) -> dict[str, Handler]:
    """Make the handlers of a service: `GetJob` is answered by the servant's `get_job`. There must be one for each."""
    return {
        f"/{service.full_name}/{method.name}": _handler(
            handler_context, method, getattr(servant, _snake(method.name)), threads
        )
        for method in service.methods
    }


def _handler(
    handler_context: HandlerContext, method: MethodDescriptor, function: Any, threads: ThreadPoolExecutor | None
) -> Handler:
    request_type = message_factory.GetMessageClass(method.input_type)
    name = f"{method.containing_service.name}/{method.name}"
    if method.server_streaming:
        return interceptor.streaming(handler_context, name, request_type, function)
    return interceptor.unary(handler_context, name, request_type, function, threads)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
