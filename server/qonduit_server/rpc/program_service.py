# SPDX-License-Identifier: Apache-2.0
"""ProgramService: list languages and translate programs between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from google.protobuf.struct_pb2 import Struct

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.program_service_pb2 import (
    ListLanguagesRequest,
    ListLanguagesResponse,
    TranslateProgramRequest,
    TranslateProgramResponse,
)
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import (
    Abandoned,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Violation,
)
from qonduit_server.rpc import struct_limits
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.caller_budget import CallerBudget, Charge
from qonduit_server.rpc.job_watches import draining
from qonduit_server.rpc.program_errors import is_fault_of_program, violation
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.submission_checks import program_violations
from qonduit_server.store.ownership import cache_scope

#: The maximum number of running and waiting translations.
_MAX_UNDER_WAY: Final = 128
#: Threads for the calls of this service; the extra ones reject calls above the limit.
THREADS: Final = _MAX_UNDER_WAY + 8

_QUOTA: Final = "translations"


class Translate(Protocol):
    """Translates one program in a worker."""

    def __call__(
        self,
        program: QuantumProgram,
        target: AssemblerLanguage,
        inputs: Struct,
        seconds: float,
        add_callback: Callable[[Callable[[], None]], bool],
        charge: Charge,
        scope: str,
    ) -> TranslateProgramResponse | Failure:
        """Translate a program.

        Args:
            program: the program; its own inputs are ignored.
            target: the target language.
            inputs: values of its inputs.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: registers a callback for the end of the call; returns False if the call has ended.
            charge: receives the time of the worker.
            scope: keeps cached programs of callers apart.

        Returns:
            The translation, or the failure. Its reason is CANCELLED if the call ended.

        Raises:
            CallError: the server cannot translate now.
        """


def translation_disabled(
    program: QuantumProgram,
    target: AssemblerLanguage,
    inputs: Struct,
    seconds: float,
    add_callback: Callable[[Callable[[], None]], bool],
    charge: Charge,
    scope: str,
) -> TranslateProgramResponse | Failure:
    """Return the failure of a server that does not translate."""
    return Failure(category=FailureCategory.FAILURE_CATEGORY_PROVIDER, message="translation is disabled on this server")


class ProgramService:
    """Checks programs, submits them for translation, and maps failures to errors by their category."""

    def __init__(
        self,
        limits: Limits,
        stopping: threading.Event,
        languages: ListLanguagesResponse,
        translate: Translate,
        budget: CallerBudget,
    ) -> None:
        self._limits = limits
        self._stopping = stopping
        self._languages = languages
        self._translate = translate
        self._budget = budget
        self._slots = threading.BoundedSemaphore(_MAX_UNDER_WAY)

    def list_languages(self, request: ListLanguagesRequest, call: CallContext) -> ListLanguagesResponse:
        """Return all languages and the cost of each translation step."""
        return self._languages

    def translate_program(self, request: TranslateProgramRequest, call: CallContext) -> TranslateProgramResponse:
        """Translate a program into another language."""
        self._check(request)
        if self._stopping.is_set():
            raise draining()
        with self._budget.call(call.principal.name):
            return self._translated(request, call)

    def _translated(self, request: TranslateProgramRequest, call: CallContext) -> TranslateProgramResponse:
        if not self._slots.acquire(blocking=False):
            raise ResourceExhausted(
                f"limit of concurrent translations reached ({_MAX_UNDER_WAY}); retry later", subject=_QUOTA
            )
        try:
            inputs = Struct()
            for values in (request.program.python_file_inputs, request.inputs):
                # The request's values come second and override the program's.
                for name, value in values.fields.items():
                    inputs.fields[name].CopyFrom(value)
            response = self._translate(
                request.program,
                request.target_language,
                inputs,
                call.seconds_left(),
                call.add_callback,
                self._budget.charge(call.principal.name),
                cache_scope(call.principal.name),
            )
        finally:
            self._slots.release()
        if isinstance(response, Failure):
            raise _failure_error(response, request)
        size = response.ByteSize()
        if size > self._limits.max_response_bytes:
            raise ResourceExhausted(
                f"the translation has {size} bytes, the limit is {self._limits.max_response_bytes} "
                "(max_response_bytes): translate a smaller program",
                subject="max_response_bytes",
                retry_after=None,
            )
        return response

    def _check(self, request: TranslateProgramRequest) -> None:
        """Reject violations that can be detected without parsing the program."""
        violations = list(program_violations(request.program, "program", self._limits))
        violations += struct_limits.violations(request.inputs, "inputs")
        target = request.target_language
        writable = {each.language for each in self._languages.languages if each.writable}
        if target not in writable:
            message = f"target_language: unsupported language {_name(target)}; supported: {_names(writable)}"
            violations.append(Violation("target_language", "target_language.writable", message))
        if violations:
            raise InvalidArgument(violations)


def _failure_error(failure: Failure, request: TranslateProgramRequest) -> CallError:
    """Return the error of a failed translation, by the category of the failure."""
    reason, message = failure.reason, failure.message
    match failure.category:
        case FailureCategory.FAILURE_CATEGORY_PROGRAM if reason == "UNSUPPORTED_BY_LANGUAGE":
            target = _name(request.target_language)
            return FailedPrecondition(
                f"the program cannot be written in {target}: {message}",
                subject="target_language",
                kind="LANGUAGE",
                reason="UNSUPPORTED_BY_LANGUAGE",
            )
        case _ if is_fault_of_program(failure):
            return _invalid_program(failure, request)
        case FailureCategory.FAILURE_CATEGORY_LIMIT if reason == "MEMORY_LIMIT":
            return ResourceExhausted(
                "the translation exceeds its memory limit: translate a smaller program",
                subject="max_task_memory_bytes",
            )
        case FailureCategory.FAILURE_CATEGORY_LIMIT if reason == "TRANSLATION_TOO_LARGE":
            return ResourceExhausted(message, subject="max_response_bytes", retry_after=None)
        case FailureCategory.FAILURE_CATEGORY_LIMIT:
            return ResourceExhausted(message, subject=_QUOTA)
        case FailureCategory.FAILURE_CATEGORY_WORKER if reason == "CANCELLED":
            return Abandoned("the client cancelled the call")
        case FailureCategory.FAILURE_CATEGORY_WORKER:
            return ResourceExhausted(message, subject="max_task_memory_bytes")
        case FailureCategory.FAILURE_CATEGORY_INTERNAL | FailureCategory.FAILURE_CATEGORY_UNSPECIFIED:
            # A fault of the server: the interceptor logs it with the request id.
            raise RuntimeError(f"translation failed: {message}")
        case _:
            return FailedPrecondition(message, subject="server", kind="TRANSLATION_UNAVAILABLE")


def _invalid_program(failure: Failure, request: TranslateProgramRequest) -> InvalidArgument:
    return InvalidArgument([violation(failure, request.program, "program", "inputs")], reason="INVALID_PROGRAM")


def _name(language: AssemblerLanguage) -> str:
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")


def _names(languages: Iterable[AssemblerLanguage]) -> str:
    return ", ".join(_name(language) for language in sorted(languages)) or "none"
