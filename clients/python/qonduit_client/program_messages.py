# SPDX-License-Identifier: Apache-2.0
"""Convert programs (text, bytes, files, circuits) to QuantumProgram messages, and detect their language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, ValuesView
from pathlib import Path
from typing import Any, Final, TypeAlias

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.circuits import is_circuit, program_of
from qonduit_client.errors import ProgramUnreadable

#: One program: text, bytes (binary languages), a file, a QuantumProgram message, or a circuit object of an SDK
#: (see `circuits.program_of`).
Program: TypeAlias = str | bytes | Path | QuantumProgram | Any

_PREFIX: Final = "ASSEMBLER_LANGUAGE_"
_NOISE: Final = re.compile(r"\A(?:\s+|//[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.DOTALL)
_VERSION: Final = re.compile(r"\AOPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_SUFFIXES: Final = {
    ".qasm2": "QASM2",
    ".qasm3": "QASM3",
    ".qpy": "QISKIT",
    ".quil": "QUIL",
    ".py": "PYTHON",
}
#: The beginnings of programs in languages without a header, after comments.
_PYTHON: Final = re.compile(r"\A(?:from\s+[\w.]+\s+import\b|import\s+[\w.]+|def\s+\w+\()")
_QUIL: Final = re.compile(
    r"\A(?:DECLARE\s+\S+\s+(?:BIT|OCTET|INTEGER|REAL)\b|DEF(?:GATE|CIRCUIT)\s|PRAGMA\s|MEASURE\s+\d|"
    r"[A-Z][A-Z0-9]*(?:\([^()\n]*\))?(?:[ \t]+\d+)+[ \t]*(?:[#\n]|\Z))"
)
_HASH_NOISE: Final = re.compile(r"\A(?:\s+|#[^\n]*(?:\n|\Z))+")
_FILE_NAME: Final = re.compile(r"\A[\w.\-/\\~ ]+\.(?:qasm[23]?|inc|qpy|quil|json|py)\Z")


def programs_of(program: Program | Iterable[Program], language: str | None = None) -> list[QuantumProgram]:
    """Return the messages of one or several programs.

    Args:
        program: one program or several. A `str` is always program text; pass a `Path` for a file.
        language: the language of all texts, bytes and files ("QASM2"); by default detected from header and file
            suffix.

    Raises:
        ProgramUnreadable: a language cannot be detected, or is unknown.
        OSError: a file cannot be read.
    """
    if isinstance(program, str | bytes | Path | QuantumProgram) or is_circuit(program):  # circuits are iterable too
        return [_message(program, language)]
    listed: Any = getattr(program, "tolist", None)
    if callable(listed):  # of numpy or pandas
        return programs_of(listed(), language)
    # Not all iterables: a table iterates over its column names, a mapping over its keys.
    if not isinstance(program, Sequence | Iterator | ValuesView):
        return [_message(program, language)]
    return [_message(each, language) for each in program]


def enum_name(language: str) -> str:
    """Return the name of a language's enum value; the argument may omit the prefix and have any case.

    Raises:
        ProgramUnreadable: the language is unknown.
    """
    full = _PREFIX + language.upper().removeprefix(_PREFIX)
    known = [key for key in AssemblerLanguage.keys() if not key.endswith("UNSPECIFIED")]  # noqa: SIM118
    if full not in known:
        names = ", ".join(key.removeprefix(_PREFIX) for key in known)
        raise ProgramUnreadable(f"unknown language {language!r}; languages: {names}", reason="UNKNOWN_LANGUAGE")
    return full


def guess_language(source: str | bytes, suffix: str = "") -> str:
    """Detect the language of a program from its header or, for JSON, its content; else from the file suffix.

    The header takes precedence: the suffix `.qasm` is used for OpenQASM 2 and 3. Without a header, a `.qasm` file is
    OpenQASM 3, since only OpenQASM 3 makes the header optional.

    Raises:
        ProgramUnreadable: the language cannot be detected.
    """
    suffix = suffix.lower()
    if isinstance(source, bytes):
        if source.startswith(b"QISKIT"):
            return "QISKIT"
        try:
            source = source.decode()
        except UnicodeDecodeError:
            if _SUFFIXES.get(suffix) == "QISKIT":
                return "QISKIT"  # corrupt; the server reports the details
            raise _undetected(suffix) from None
    language, header = _language_of_text(source, suffix)
    if not language:
        raise _undetected(suffix, header)
    return language


def _language_of_text(source: str, suffix: str) -> tuple[str, str]:
    """Return the language, "" if it is not detected, and the OpenQASM header, if any."""
    body = _NOISE.sub("", source.removeprefix("\ufeff"))
    version = _VERSION.match(body)
    if version:
        of_three = "BRAKET" if re.search(r"^\s*#pragma\s+braket\b", body, re.MULTILINE) else "QASM3"
        return {"2": "QASM2", "3": of_three}.get(version[1], ""), version[0]
    if body.startswith("{"):
        if '"cirq_type"' in body:
            return "CIRQ", ""
        return "IONQ" if '"circuit"' in body and '"qubits"' in body else "", ""
    if suffix == ".qasm":
        return "QASM2" if re.search(r'^\s*include\s+"qelib1\.inc"', body, re.MULTILINE) else "QASM3", ""
    if suffix:
        return _SUFFIXES.get(suffix, ""), ""
    body = _HASH_NOISE.sub("", source.removeprefix("\ufeff"))
    if _PYTHON.match(body):
        return "PYTHON", ""
    return "QUIL" if _QUIL.match(body) else "", ""


def _undetected(suffix: str, header: str = "") -> ProgramUnreadable:
    what = f"its header is {header!r}" if header else "it has no header such as 'OPENQASM 2.0;' or 'OPENQASM 3;'"
    name = f", and its file suffix is {suffix!r}" if suffix else ""
    return ProgramUnreadable(
        f"cannot detect the language of the program: {what}{name}; pass the language", reason="UNKNOWN_LANGUAGE"
    )


def _message(program: Program, language: str | None) -> QuantumProgram:
    if isinstance(program, QuantumProgram):
        return program
    if not isinstance(program, str | bytes | Path):
        return program_of(program)
    suffix = ""
    source: str | bytes
    if isinstance(program, Path):
        suffix = program.suffix
        source = program.read_bytes()
    else:
        source = program
        if isinstance(source, str) and _FILE_NAME.match(source.strip()):
            raise ProgramUnreadable(
                f"{source.strip()!r} looks like a file name, but a string is program text: pass Path(...)",
                reason="FILE_NAME_AS_TEXT",
            )
    found = enum_name(language or guess_language(source, suffix))
    if isinstance(source, bytes) and not source.startswith(b"QISKIT"):
        try:
            source = source.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as wrong:
            if found != _PREFIX + "QISKIT":
                raise ProgramUnreadable(f"the program is not UTF-8 text: {wrong}", reason="NOT_TEXT") from None
    if isinstance(source, bytes):
        return QuantumProgram(quantum_circuit_binary=source, assembler_language=found)
    return QuantumProgram(quantum_circuit=source, assembler_language=found)
