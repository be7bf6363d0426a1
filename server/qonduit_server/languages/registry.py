# SPDX-License-Identifier: Apache-2.0
"""Which languages are read, and by which file; a new language adds one line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.hub.circuit import Circuit

#: Language -> module of this room. Each has `read(text) -> Circuit`, or `read(binary) -> Circuit` for BINARY ones.
LANGUAGES: Final[dict[AssemblerLanguage, str]] = {
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2: "openqasm2",
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3: "openqasm3",
}
#: Languages whose programs are bytes, not text.
BINARY: Final[frozenset[AssemblerLanguage]] = frozenset()

_TYPICAL: Final = """OPENQASM 3.0;
include "stdgates.inc";
gate g(a) p, q { rx(a / 2 + pi) p; ctrl @ x p, q; }
qubit[3] q;
bit[3] c;
const int n = 2;
for int i in [0:n - 1] { cx q[i], q[i + 1]; }
g(-0.5) q[0], q[1];
barrier q;
c[0] = measure q[0];
if (c[0] == 1) { x q[1]; } else { reset q[2]; }
c = measure q;
"""

_readers: dict[AssemblerLanguage, Callable[[str | bytes], Circuit]] = {}


def load() -> None:
    """Import every reader ahead of the first program; ANTLR's parser also learns its grammar from a first one."""
    for language in LANGUAGES:
        _reader(language)
    _reader(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)(_TYPICAL)


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
