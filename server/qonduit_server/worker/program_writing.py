# SPDX-License-Identifier: Apache-2.0
"""Writes a program in the target language of a translation task."""

from __future__ import annotations

from typing import Final

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import LimitError, ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.writing.write_result import WriteResult

#: No response is larger, so a larger translation could not be delivered.
_MAX_BYTES: Final = 3 * 1024**2


def write_program(languages: Languages, target: AssemblerLanguage, circuit: Circuit) -> WriteResult:
    """Write a program.

    Raises:
        ProgramError: reason UNSUPPORTED_BY_LANGUAGE, or UNSUPPORTED_LANGUAGE if nothing is written in that language.
        LimitError: reason TRANSLATION_TOO_LARGE.
    """
    try:
        written = languages.write(target, circuit)
    except ProgramError as error:
        if error.reason == "UNSUPPORTED_LANGUAGE":
            raise
        # The program was read, so it is valid: the target language lacks a feature.
        raise ProgramError("UNSUPPORTED_BY_LANGUAGE", error.message) from error
    size = len(written.source) if isinstance(written.source, bytes) else len(written.source.encode())
    if size > _MAX_BYTES:
        raise LimitError(
            "TRANSLATION_TOO_LARGE",
            f"the translation has {size} bytes, and may have at most {_MAX_BYTES}: "
            "translate a smaller program, or parts of it",
        )
    return written
