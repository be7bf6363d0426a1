# SPDX-License-Identifier: Apache-2.0
"""ProgramService: which languages there are, and programs translated between them."""

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
from qonduit_server.rpc.job_watches import draining
from qonduit_server.rpc.program_errors import is_fault_of_program, violation
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.submission_checks import program_violations

#: Translations under way and waiting, at most.
_MAX_UNDER_WAY: Final = 128
#: Threads that this service's calls wait in: some are left to say that there are too many.
THREADS: Final = _MAX_UNDER_WAY + 8

_QUOTA: Final = "translations"


class Translate(Protocol):
    """Translates one program somewhere else."""

    def __call__(
        self,
        program: QuantumProgram,
        target: AssemblerLanguage,
        inputs: Struct,
        seconds: float,
        add_callback: Callable[[Callable[[], None]], bool],
    ) -> TranslateProgramResponse | Failure:
        """Translate a program.

        Args:
            program: the program; its own inputs are not looked at.
            target: the language to write it in.
            inputs: values for its inputs.
            seconds: how long the caller waits; infinity for ever.
            add_callback: has something done when the caller waits no more; false: it does not wait now.

        Returns:
            The translation, or why there is none. Reason CANCELLED: the caller waits no more.

        Raises:
            CallError: nothing can be translated now.
        """


def translation_disabled(
    program: QuantumProgram,
    target: AssemblerLanguage,
    inputs: Struct,
    seconds: float,
    add_callback: Callable[[Callable[[], None]], bool],
) -> TranslateProgramResponse | Failure:
    """Stand in where nothing translates."""
    return Failure(category=FailureCategory.FAILURE_CATEGORY_PROVIDER, message="translation is disabled on this server")


class ProgramService:
    """Checks programs, has them translated, and tells what went wrong by whose fault it is."""

    def __init__(
        self, limits: Limits, stopping: threading.Event, languages: ListLanguagesResponse, translate: Translate
    ) -> None:
        self._limits = limits
        self._stopping = stopping
        self._languages = languages
        self._translate = translate
        self._turns = threading.BoundedSemaphore(_MAX_UNDER_WAY)

    def list_languages(self, request: ListLanguagesRequest, call: CallContext) -> ListLanguagesResponse:
        """Return all languages, and what translating from and to each costs."""
        return self._languages

    def translate_program(self, request: TranslateProgramRequest, call: CallContext) -> TranslateProgramResponse:
        """Write a program in another language."""
        self._check(request)
        if self._stopping.is_set():
            raise draining()
        if not self._turns.acquire(blocking=False):
            raise ResourceExhausted(
                f"limit of concurrent translations reached ({_MAX_UNDER_WAY}); retry later", subject=_QUOTA
            )
        try:
            given = Struct()
            for values in (request.program.python_file_inputs, request.inputs):
                # Those of the request come second, and win.
                for name, value in values.fields.items():
                    given.fields[name].CopyFrom(value)
            answer = self._translate(
                request.program, request.target_language, given, call.seconds_left(), call.add_callback
            )
        finally:
            self._turns.release()
        if isinstance(answer, Failure):
            raise _refusal(answer, request)
        size = answer.ByteSize()
        if size > self._limits.max_response_bytes:
            raise ResourceExhausted(
                f"the translation has {size} bytes, the limit is {self._limits.max_response_bytes} "
                "(max_response_bytes): translate a smaller program",
                subject="max_response_bytes",
                retry_after=None,
            )
        return answer

    def _check(self, request: TranslateProgramRequest) -> None:
        """Refuse what can be refused without reading the program."""
        broken = list(program_violations(request.program, "program", self._limits))
        broken += struct_limits.violations(request.inputs, "inputs")
        target = request.target_language
        writable = {each.language for each in self._languages.languages if each.writable}
        if target not in writable:
            what = f"target_language: unsupported language {_name(target)}; supported: {_names(writable)}"
            broken.append(Violation("target_language", "target_language.writable", what))
        if broken:
            raise InvalidArgument(broken)


def _refusal(failure: Failure, request: TranslateProgramRequest) -> CallError:
    """Return the error of a program that was not translated: whose fault it is decides."""
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
            return _wrong_program(failure, request)
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
            raise RuntimeError(f"translating failed: {message}")  # a fault of ours: into the log, under the request id
        case _:
            return FailedPrecondition(message, subject="server", kind="TRANSLATION_UNAVAILABLE")


def _wrong_program(failure: Failure, request: TranslateProgramRequest) -> InvalidArgument:
    return InvalidArgument([violation(failure, request.program, "program", "inputs")], reason="INVALID_PROGRAM")


def _name(language: AssemblerLanguage) -> str:
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")


def _names(languages: Iterable[AssemblerLanguage]) -> str:
    return ", ".join(_name(language) for language in sorted(languages)) or "none"
