# SPDX-License-Identifier: Apache-2.0
"""Server reflection, v1 and v1alpha, for every symbol of the contract.

grpcio's own package supports only v1alpha and finds no methods, so `grpcurl describe SERVICE.METHOD` fails with it. The
two versions have the same wire format: both use the messages of v1alpha, and the file of v1 is derived from v1alpha's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from qonduit_server.errors import CallError, ResourceExhausted
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.error_status import outcome, status_of
from qonduit_server.rpc.interceptor import Handler

#: The maximum number of open calls: a client such as grpcurl keeps its call open for as long as it runs.
MOST_OPEN = 128
#: Threads for the calls; the extra ones reject calls above the limit.
THREADS = MOST_OPEN + 8
#: No symbol is longer, and each response repeats its request.
MAX_REQUEST_BYTES = 16_384

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_V1_FILE = "grpc/reflection/v1/reflection.proto"

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse


class Reflection:
    """Responds from the descriptor pool that the generated code fills."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted({*services, *SERVICES})
        self._limiter = threading.BoundedSemaphore(MOST_OPEN)
        self._pool = descriptor_pool.Default()
        _add_v1(self._pool)

    def handlers(
        self,
        threads: ThreadPoolExecutor,
        admit: Callable[[CallContext, grpc.ServicerContext], None],
        observer: Observer = UNOBSERVED,
    ) -> dict[str, Handler]:
        """Make the gRPC handlers by full method name; each open call holds one of `threads`.

        Args:
            threads: the threads of the calls.
            admit: authenticates a call; raises a CallError to reject it.
            observer: receives the calls that fail.
        """

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            method = "ServerReflection/ServerReflectionInfo"
            call = CallContext(method, context.invocation_metadata(), observer=observer)
            error: CallError | None = ResourceExhausted(
                f"limit of reflection streams reached ({MOST_OPEN}); close a stream and retry",
                subject="reflection_calls",
            )
            _, refused = outcome(call.request_id, admit, call, context)
            if refused is not None:
                error = refused
            elif self._limiter.acquire(blocking=False):
                try:
                    for data in requests:
                        answer, error = outcome(call.request_id, self.answer, data)
                        if answer is None:
                            break
                        yield answer.SerializeToString()
                    else:
                        error = None
                finally:
                    self._limiter.release()
            if error is not None:
                call.ended(error)
                code, message, details = status_of(error, call.request_id)
                context.set_trailing_metadata((*call.trailer, ("grpc-status-details-bin", details)))
                context.abort(code, message)

        behave.experimental_thread_pool = threads  # type: ignore[attr-defined]
        handler: Handler = grpc.stream_stream_rpc_method_handler(behave)
        return {f"/{service}/ServerReflectionInfo": handler for service in SERVICES}

    def answer(self, data: bytes) -> Response:
        """Answer one request."""
        if len(data) > MAX_REQUEST_BYTES:
            message = f"the request must have at most {MAX_REQUEST_BYTES} bytes, got {len(data)}"
            return _error(Request(), grpc.StatusCode.INVALID_ARGUMENT, message)
        try:
            request = Request.FromString(data)
        except DecodeError:
            return _error(Request(), grpc.StatusCode.INVALID_ARGUMENT, "not a ServerReflectionRequest")
        response = Response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                _add_file(response, self._pool.FindFileByName(request.file_by_filename))
            elif kind == "file_containing_symbol":
                _add_file(response, self._file_of(request.file_containing_symbol))
            elif kind == "file_containing_extension":
                requested = request.file_containing_extension
                extended = self._pool.FindMessageTypeByName(requested.containing_type)
                extension = self._pool.FindExtensionByNumber(extended, requested.extension_number)
                _add_file(response, self._pool.FindFileContainingSymbol(extension.full_name))
            elif kind == "all_extension_numbers_of_type":
                extended = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = extended.full_name
                numbers.extension_number.extend(sorted(one.number for one in self._pool.FindAllExtensions(extended)))
            else:
                return _error(request, grpc.StatusCode.INVALID_ARGUMENT, "message_request must be set")
        except KeyError:
            return _error(request, grpc.StatusCode.NOT_FOUND, "not found in the descriptors of this server")
        return response

    def _file_of(self, symbol: str) -> FileDescriptor:
        """Find the file of a symbol of any kind. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            # The pool does not find methods, nor the values of an enum under the enum's own name.
            parent, _, name = symbol.rpartition(".")
            finders: tuple[Callable[[str], object], ...] = (
                lambda known: self._pool.FindServiceByName(known).methods_by_name[name],
                lambda known: self._pool.FindEnumTypeByName(known).values_by_name[name],
                lambda known: self._pool.FindMessageTypeByName(known).fields_by_name[name],
            )
            for find in finders:
                try:
                    find(parent)
                except KeyError:
                    continue
                return self._pool.FindFileContainingSymbol(parent)
            raise


def _add_file(response: Response, file: FileDescriptor) -> None:
    """Add a file and its imports."""
    seen: dict[str, bytes] = {}

    def visit(one: FileDescriptor) -> None:
        if one.name not in seen:
            seen[one.name] = _described(one)
            for imported in one.dependencies:
                visit(imported)

    visit(file)
    response.file_descriptor_response.file_descriptor_proto.extend(seen.values())


@cache
def _described(file: FileDescriptor) -> bytes:
    """Return a file with the JSON names of its fields.

    protoc omits them from the code that it generates for Python. Without them, clients that use reflection write
    `job_id`, but protobuf's JSON format requires `jobId`.
    """
    proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    messages = list(proto.message_type)
    for message in messages:
        messages.extend(message.nested_type)
        for field in message.field:
            if not field.HasField("json_name"):
                first, *rest = field.name.split("_")
                field.json_name = first + "".join(part[:1].upper() + part[1:] for part in rest)
    return proto.SerializeToString()


def _error(request: Request, code: grpc.StatusCode, message: str) -> Response:
    return Response(
        original_request=request,
        error_response=reflection_pb2.ErrorResponse(error_code=code.value[0], error_message=message),
    )


def _add_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Add the file of v1 to the pool, unless the pool has it."""
    try:
        pool.FindFileByName(_V1_FILE)
    except KeyError:
        renamed = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
        renamed.name = _V1_FILE
        renamed.package = "grpc.reflection.v1"
        for message in renamed.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = _v1(field.type_name)
        for service in renamed.service:
            for method in service.method:
                method.input_type = _v1(method.input_type)
                method.output_type = _v1(method.output_type)
        pool.Add(renamed)


def _v1(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
