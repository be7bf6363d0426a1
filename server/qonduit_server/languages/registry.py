# SPDX-License-Identifier: Apache-2.0
"""The registry of languages with their readers and writers; a new language adds one entry.

Translation goes through the IR: a reader converts a language to the IR, a writer the IR to a language.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias

from qonduit.v1.program_service_pb2 import Language, ListLanguagesResponse, Translation
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.distribution import with_extras
from qonduit_server.errors import LimitError, ProgramError, ProviderError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.limits import MAX_NAME_BYTES, MAX_REGISTERS, too_large
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.languages.deadline import DeadlineExceeded, at_most
from qonduit_server.languages.program_inputs import SweptInputs, unknown_input
from qonduit_server.languages.python import environments, source_runner
from qonduit_server.languages.python.source_runner import ANY_MEMORY, Memory, PythonSource
from qonduit_server.languages.signatures import NO_NAMES, Inputs
from qonduit_server.languages.writing.write_result import WriteResult

if TYPE_CHECKING:
    from qonduit_server.languages.translation_cache import TranslationCache

#: Programs that take longer to read, in seconds, are cached on disk; a cache hit takes 0.2 to 0.5 ms.
_COSTLY_SECONDS: Final = 0.002


_Reader: TypeAlias = Callable[[str | bytes, Inputs, frozenset[str]], Circuit]


@dataclass(frozen=True)
class LanguageEntry:
    """A language.

    Args:
        title: its name and what of it is read, for people.
        reader: module of this room with `read(source, inputs, gate_names) -> Circuit`; "" if it is only written.
        writer: module of this room with `write(circuit) -> WriteResult`; "" if it is only read.
        binary: whether its programs are bytes, not text.
        read_ms: time to read a circuit of 100 gates, in milliseconds (measured by `make corpus`).
        write_ms: likewise for writing.
    """

    title: str
    reader: str = ""
    writer: str = ""
    binary: bool = False
    read_ms: float = 0.0
    write_ms: float = 0.0


LANGUAGES: Final[dict[AssemblerLanguage, LanguageEntry]] = {
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2: LanguageEntry(
        "OpenQASM 2.0", "openqasm2_reader", "writing.qasm2_writer", read_ms=1.5, write_ms=1.5
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3: LanguageEntry(
        "OpenQASM 3", "openqasm3.openqasm3_reader", "writing.qasm3_writer", read_ms=7.0, write_ms=1.5
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT: LanguageEntry(
        "Qiskit circuits (QPY 13 or newer)",
        "qiskit.qpy_reader",
        "writing.qpy_writer",
        binary=True,
        read_ms=2.0,
        write_ms=2.5,
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_BRAKET: LanguageEntry(
        "Amazon Braket's OpenQASM 3", "braket.braket_reader", "writing.braket_writer", read_ms=7.0, write_ms=2.0
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ: LanguageEntry(
        "Cirq's JSON", "cirq.cirq_reader", "writing.cirq_writer", read_ms=3.0, write_ms=3.0
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL: LanguageEntry(
        "Quil", "quil.quil_reader", "writing.quil_writer", read_ms=3.0, write_ms=2.0
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_IONQ: LanguageEntry(
        "IonQ's JSON circuits", "ionq_reader", "writing.ionq_writer", read_ms=2.5, write_ms=3.0
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_QRISP: LanguageEntry(
        "Qrisp: OpenQASM text, or Python source", "qrisp_reader", read_ms=5.0
    ),
    AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON: LanguageEntry("Python source that builds a circuit of any SDK"),
}

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


def name(language: AssemblerLanguage) -> str:
    """Return the short name of a language: "QASM3"."""
    known = language in AssemblerLanguage.values()
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_") if known else str(language)


_NAMED: Final = {name(each): each for each in LANGUAGES}


def readable(sources: Collection[str] = ()) -> list[AssemblerLanguage]:
    """Return the languages that are read, if Python source is enabled for these short names."""
    return [each for each, entry in LANGUAGES.items() if entry.reader or name(each) in sources]


class Languages:
    """Reads and writes programs in one process.

    Args:
        cache: caches programs that were slow to read.
        sandbox: runs Python source; by default for no language.
        read_seconds: time limit for reading one program, in seconds; 0 means no limit.
    """

    def __init__(
        self,
        cache: TranslationCache | None = None,
        sandbox: PythonSource | None = None,
        read_seconds: float = 0.0,
    ) -> None:
        self._cache = cache
        self._read_seconds = read_seconds
        #: Whether a reader was interrupted, which may leave shared state of the process inconsistent.
        self.interrupted = False
        self._sandbox = sandbox or PythonSource({})
        self._readers: dict[AssemblerLanguage, _Reader] = {}

    @property
    def sandbox(self) -> PythonSource:
        """What runs Python source, and checks server programs."""
        return self._sandbox

    def load(self) -> None:
        """Import every reader before the first program, and warm up ANTLR's parser with a typical program.

        A reader whose library is missing in this environment does not affect the others.
        """
        for language, entry in LANGUAGES.items():
            if entry.reader:
                with contextlib.suppress(ProviderError):
                    self._reader(language)
        with contextlib.suppress(ProviderError):
            self._reader(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)(_TYPICAL, {}, NO_NAMES)

    def describe(self) -> ListLanguagesResponse:
        """Return all languages, translations and Python environments."""
        listed = ListLanguagesResponse(python_environments=environments.describe(self._sandbox.environments))
        for language, entry in LANGUAGES.items():
            short = name(language).lower()
            listed.languages.append(
                Language(
                    language=language,
                    title=entry.title,
                    binary=entry.binary,
                    readable=bool(entry.reader),
                    writable=bool(entry.writer),
                    python_source=name(language) in self._sandbox.pythons,
                )
            )
            if entry.reader:
                listed.translations.append(
                    Translation(name=f"{short}_to_hub", from_language=language, cost_milliseconds=entry.read_ms)
                )
            if entry.writer:
                listed.translations.append(
                    Translation(name=f"hub_to_{short}", to_language=language, cost_milliseconds=entry.write_ms)
                )
        return listed

    def read(
        self,
        language: AssemblerLanguage,
        text: str,
        binary: bytes,
        inputs: Inputs,
        memory: Memory = ANY_MEMORY,
        gate_names: frozenset[str] = NO_NAMES,
        free: frozenset[str] = NO_NAMES,
        scope: str = "",
    ) -> Circuit:
        """Read a program.

        Args:
            language: of the program.
            text: its source, unless it is binary.
            binary: its source if it is binary.
            inputs: the values of its inputs.
            memory: of the task.
            gate_names: gates that are kept whole if the program defines them.
            free: inputs whose values vary, an array's elements as `name[i]`. Those without a value in `inputs` become
                `Circuit.parameters`; those with one are read with it, as one point of a sweep.
            scope: keeps the cached programs of owners apart.

        Raises:
            MemoryNotGranted: it is Python source, for which the task must request memory first.
            NotSymbolic: the circuit depends on a free input in more than the parameters of its gates, or the program
                cannot be read without its value: read it once for each point, with values.
            ProgramError: the program is invalid, or its language is not read here; UNKNOWN_INPUT, it has no input of a
                name in `free`.
        """
        entry = LANGUAGES.get(language)
        built = source_runner.is_source(name(language), text) and bool(text.strip()) and not binary
        if built and name(language) not in self._sandbox.pythons:
            raise source_runner.disabled(name(language))
        if not built and (entry is None or not entry.reader):
            known = ", ".join(name(each) for each in readable(self._sandbox.pythons))
            raise ProgramError("UNSUPPORTED_LANGUAGE", f"this server does not read {name(language)}; it reads {known}")
        source: str | bytes = binary if entry is not None and entry.binary and not built else text
        if not source.strip():
            raise ProgramError("SYNTAX_ERROR", "the program is empty: set its source", line=1, column=1)
        if self._cache is None:
            return self._swept(language, source, inputs, built, memory, gate_names, free)
        more = self._sandbox.environment(name(language)) if built else ""
        if gate_names or free:
            more = json.dumps([more, sorted(gate_names), sorted(free)])
        key = self._cache.key(language, source, inputs, more, scope)
        circuit = self._cache.get(key)
        if circuit is None:
            began = time.perf_counter()
            circuit = self._swept(language, source, inputs, built, memory, gate_names, free)
            if time.perf_counter() - began > _COSTLY_SECONDS:
                self._cache.put(key, circuit)
        return circuit

    def _swept(
        self,
        language: AssemblerLanguage,
        source: str | bytes,
        inputs: Inputs,
        built: bool,
        memory: Memory,
        gate_names: frozenset[str],
        free: frozenset[str],
    ) -> Circuit:
        """Read a program some of whose inputs are swept."""
        if not free:
            return self._read(language, source, inputs, built, memory, gate_names)
        swept = SweptInputs(inputs, free)
        if not swept.symbols:
            return self._read(language, source, swept, built, memory, gate_names)
        from qonduit_server.ir.parameters import Binder

        try:
            circuit = self._read(language, source, swept, built, memory, gate_names)
            parameters = {each.name for each in circuit.quantum.parameters}
            if not parameters <= swept.symbols.keys():
                raise NotSymbolic("a gate depends on a parameter that is no input")
            circuit = replace(circuit, parameters=tuple(sorted(parameters)))
            Binder(circuit)  # which refuses what it cannot compute
        except ProgramError as error:
            if error.reason == "UNKNOWN_INPUT":
                raise
            # The error may be due to the missing values; reading with values decides.
            raise NotSymbolic(error.message) from error
        return circuit

    def _read(
        self,
        language: AssemblerLanguage,
        source: str | bytes,
        inputs: Inputs,
        built: bool,
        memory: Memory,
        gate_names: frozenset[str],
    ) -> Circuit:
        """Read a program, with Python source if `built`, and check the limits of its registers."""
        if built and isinstance(source, str):
            circuit = self._build(language, source, inputs, memory, gate_names)
        else:
            circuit = self._parse(language, source, inputs, gate_names)
        if len(circuit.registers) > MAX_REGISTERS:
            raise too_large(f"the program has more than {MAX_REGISTERS} classical registers")
        if any(len(register.name.encode(errors="replace")) > MAX_NAME_BYTES for register in circuit.registers):
            raise too_large(f"the name of a classical register is longer than {MAX_NAME_BYTES} bytes")
        return circuit

    def _parse(
        self, language: AssemblerLanguage, source: str | bytes, inputs: Inputs, gate_names: frozenset[str]
    ) -> Circuit:
        """Read a program that is no Python source, within the time that it may take."""
        reader = self._reader(language)
        try:
            with at_most(self._read_seconds):
                return reader(source, inputs, gate_names)
        except DeadlineExceeded:
            self.interrupted = True
            raise LimitError(
                "READ_TIME",
                f"reading the program takes longer than {self._read_seconds:g} s (max_read_seconds): make it smaller",
            ) from None

    def _build(
        self,
        language: AssemblerLanguage,
        source: str,
        inputs: Inputs,
        memory: Memory,
        gate_names: frozenset[str],
    ) -> Circuit:
        """Run Python source, and read what it has built as any program of its language."""
        given: Inputs = dict(inputs)
        if isinstance(inputs, SweptInputs) and inputs.symbols:
            if source_runner.may_ask_for(source, inputs.symbols):
                raise NotSymbolic("the Python source asks for the value of a free input")
            given = {each: value for each, value in inputs.items() if each not in inputs.symbols}
        built = self._sandbox.build(name(language), source, given, memory)
        # A source that read the values may have used any of them.
        swept = inputs if isinstance(inputs, SweptInputs) and (inputs.symbols or not built.takes_inputs) else given
        circuit = self._parse(_NAMED[built.language], built.program, swept, gate_names)
        warnings = circuit.warnings
        if built.takes_inputs:
            unknown = {unknown_input(each) for each in inputs}
            warnings = tuple(each for each in warnings if each not in unknown)
        if built.printed:
            warnings = (*warnings, f"the source printed: {built.printed}")
        return replace(circuit, warnings=warnings)

    def write(self, language: AssemblerLanguage, circuit: Circuit) -> WriteResult:
        """Write a program.

        Raises:
            ProgramError: reason UNSUPPORTED_CONSTRUCT or UNSUPPORTED_LANGUAGE.
        """
        entry = LANGUAGES.get(language)
        if entry is None or not entry.writer:
            known = ", ".join(name(each) for each, other in LANGUAGES.items() if other.writer)
            raise ProgramError(
                "UNSUPPORTED_LANGUAGE", f"this server does not write {name(language)}; it writes {known}"
            )
        if circuit.parameters:
            raise ProgramError(
                "UNSUPPORTED_CONSTRUCT",
                f"the circuit has inputs without a value ({', '.join(circuit.parameters[:5])}): bind them first",
            )
        written: WriteResult = import_module(f"qonduit_server.languages.{entry.writer}").write(circuit)
        return written

    def _reader(self, language: AssemblerLanguage) -> _Reader:
        reader = self._readers.get(language)
        if reader is None:
            try:
                module = import_module(f"qonduit_server.languages.{LANGUAGES[language].reader}")
            except ImportError as error:
                what = f"programs in {name(language)} cannot be read there: {error}; install {with_extras('worker')}"
                raise ProviderError("READER_MISSING", what) from error
            reader = self._readers[language] = module.read
        return reader
