# SPDX-License-Identifier: Apache-2.0
"""Which languages are read, and by which file; a new language adds one line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.circuit import Circuit
from qonduit_server.errors import ProgramError

#: Language -> module of this room. Each has `read(text) -> Circuit`, or `read(binary) -> Circuit` for BINARY ones.
LANGUAGES: Final[dict[AssemblerLanguage, str]] = {
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2: "openqasm2",
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3: "openqasm3",
}
#: Languages whose programs are bytes, not text.
BINARY: Final[frozenset[AssemblerLanguage]] = frozenset()

_readers: dict[AssemblerLanguage, Callable[[str | bytes], Circuit]] = {}


def load() -> None:
    """Import every reader and its parser ahead of the first program."""
    for language in LANGUAGES:
        _reader(language)


def read(language: AssemblerLanguage, text: str, binary: bytes) -> Circuit:
    """Read a program.

    Raises:
        ProgramError: the program is at fault, or its language is not read here.
    """
    if language not in LANGUAGES:
        known = ", ".join(AssemblerLanguage.Name(each).removeprefix("ASSEMBLER_LANGUAGE_") for each in LANGUAGES)
        raise ProgramError("UNSUPPORTED_LANGUAGE", f"this server does not read that language; it reads {known}")
    if language in BINARY:
        return _reader(language)(binary)
    if not text.strip():
        raise ProgramError(
            "SYNTAX_ERROR", "the program is empty: put its source into quantum_circuit", line=1, column=1
        )
    return _reader(language)(text)


def _reader(language: AssemblerLanguage) -> Callable[[str | bytes], Circuit]:
    reader = _readers.get(language)
    if reader is None:
        reader = _readers[language] = import_module(f"qonduit_server.languages.{LANGUAGES[language]}").read
    return reader
