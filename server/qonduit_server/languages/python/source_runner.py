# SPDX-License-Identifier: Apache-2.0
"""Runs Python source that builds a circuit in a confined process (`sandbox`), and reads its circuit as data."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from qonduit_server.errors import LimitError, ProgramError, RunError
from qonduit_server.languages.signatures import Inputs
from qonduit_server.languages.source_text import without_comments
from qonduit_server.process.memory import format_bytes

#: Languages that accept Python source, and the alternative to send.
INSTEAD: Final[Mapping[str, str]] = {
    "QISKIT": "the circuit as QPY (qiskit.qpy.dump) in quantum_circuit_binary",
    "CIRQ": "the circuit as JSON (cirq.to_json)",
    "BRAKET": "the circuit as OpenQASM (circuit.to_ir(IRType.OPENQASM).source)",
    "QRISP": "the circuit as OpenQASM (circuit.to_qasm3())",
    "PYTHON": "the circuit in a language that is not Python: OpenQASM, QPY for Qiskit, JSON for Cirq",
}

#: Languages of exported circuits, which are read and never executed.
_WRITTEN: Final = ("QISKIT", "CIRQ", "BRAKET", "QASM3")

#: Time limits of importing an SDK and running a source, in seconds.
IMPORT_SECONDS: Final = 120.0
RUN_SECONDS: Final = 20.0
#: Limits of a source: memory beyond the SDK's, and CPU time.
MEMORY_BYTES: Final = 2 * 1024**3
CPU_SECONDS: Final = 20
#: Limits of printed output, of its excerpt in messages, and of the circuit.
PRINTED_BYTES: Final = 1024**2
_EXCERPT_CHARACTERS: Final = 1000
CIRCUIT_BYTES: Final = 32 * 1024**2
_LINE_BYTES: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 1800
_READY: Final = b'{"ready": true}\n'

_HEADER: Final = re.compile(r"\s*OPENQASM\b")
_IMPORT: Final = re.compile(r"^[ \t]*(?:from[ \t]+[\w.]+[ \t]+import\b|import[ \t]+[\w.]+)", re.MULTILINE)

_MENTIONED: Final = re.compile(r"inputs")
_ASKED: Final = re.compile(r"""\binputs(?:\[|\.get\()\s*(["'])([^"'\\]*)\1\s*[\]),]""")

_SANDBOX: Final = Path(__file__).parent / "sandbox"
#: Loads the sandbox's files as a package in a Python environment that may lack the server.
_START: Final = """
import importlib, importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("sandbox", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["sandbox"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
importlib.import_module("sandbox." + sys.argv[2]).main()
"""


@dataclass(frozen=True)
class Memory:
    """The memory of the task that reads a program, in bytes.

    Args:
        limit_bytes: its limit; 0 means no limit.
        granted_bytes: memory granted to it; 0 means that it needs no grant.
    """

    limit_bytes: int = 0
    granted_bytes: int = 0

    def for_source(self) -> int:
        """Return the memory that Python source may use, all of it granted.

        Raises:
            MemoryNotGranted: the granted memory is less.
        """
        most = min(self.limit_bytes or MEMORY_BYTES, MEMORY_BYTES)
        if 0 < self.granted_bytes < most:
            raise MemoryNotGranted(most)
        return most


#: No limit, and no grant needed.
ANY_MEMORY: Final = Memory()


class MemoryNotGranted(Exception):
    """A source needs this much memory granted to its task before it runs."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(memory_bytes)
        self.memory_bytes = memory_bytes


@dataclass(frozen=True)
class Built:
    """A circuit that a source has built, still to be read; untrusted like any program.

    Args:
        language: the short name of the program's language, which is not Python.
        program: the program.
        printed: the source's output, truncated.
        takes_inputs: whether the source reads its inputs.
    """

    language: str
    program: str | bytes
    printed: str
    takes_inputs: bool = False


def may_ask_for(source: str, names: Container[str]) -> bool:
    """Return whether a source may read the value of one of these inputs.

    It does not where it mentions `inputs` only as `inputs["other"]` or `inputs.get("other"`.
    """
    asked = _ASKED.findall(source)
    return len(asked) < len(_MENTIONED.findall(source)) or any(name in names for _, name in asked)


def is_source(language: str, text: str) -> bool:
    """Return whether a text in a language is Python source."""
    if language in ("QISKIT", "PYTHON"):
        return True
    if language == "CIRQ":
        return not text.lstrip().startswith(("{", "["))
    if language in ("BRAKET", "QRISP"):
        code = without_comments(text)
        return not _HEADER.match(code) and _IMPORT.search(code) is not None
    return False


def disabled(language: str) -> ProgramError:
    """Return the error of a server that does not run Python source for this language."""
    return ProgramError(
        "PYTHON_SOURCE_DISABLED",
        f"this server does not run Python source for {language}: send {INSTEAD[language]}, "
        f"or ask its operator to add {language} to the setting enable_python_source",
    )


class PythonSource:
    """Runs Python source in the sandbox.

    Args:
        pythons: the Python interpreter for each allowed language, by the language's short name.
        environments: the Python interpreter of each environment for server programs, by its name.
    """

    def __init__(self, pythons: Mapping[str, str], environments: Mapping[str, str] = MappingProxyType({})) -> None:
        self.pythons = dict(pythons)
        self.environments = dict(environments)

    def environment(self, language: str) -> str:
        """Return a cache key of a language's environment: the Python and the modification time of its libraries."""
        python = Path(self.pythons[language])
        libraries = sorted(python.parent.parent.glob("lib/python*/site-packages"))
        return " ".join([str(python), *(str(each.stat().st_mtime_ns) for each in libraries)])

    def build(self, language: str, source: str, inputs: Inputs, memory: Memory = ANY_MEMORY) -> Built:
        """Run a source.

        Args:
            language: short name of the source's language.
            source: the Python source text.
            inputs: value of the source's variable `inputs`.
            memory: of the task; the source's limit.

        Raises:
            MemoryNotGranted: the task must request memory first; the source did not run.
            ProgramError: the source failed, or is disabled or impossible to run here.
            LimitError: it exceeded the limit of time, memory or output.
        """
        if language not in self.pythons:
            raise disabled(language)
        memory_bytes = memory.for_source()
        request = {
            "language": language,
            "source": source,
            "inputs": dict(inputs),
            "qpy": import_module("qiskit.qpy.common").QPY_VERSION,
            "parent": os.getpid(),
            "cache": str(cache_folder()),
            "memory_bytes": memory_bytes,
            "cpu_seconds": CPU_SECONDS,
        }
        with SandboxProcess(self.pythons[language], request) as process:
            process.serve()
        return replace(_understood(process, memory_bytes), takes_inputs="inputs" in source)


class SandboxProcess:
    """One sandboxed process: its request, its output and its exit status.

    Args:
        python: the Python interpreter.
        request: what it does, as JSON.
        program: the module of the sandbox whose `main` it runs.
    """

    def __init__(self, python: str, request: Mapping[str, Any], program: str = "entry_point") -> None:
        self._send = memoryview(json.dumps(request).encode())
        self.answers = bytearray()
        self.printed = bytearray()
        self.ended_by = 0
        self.too_much = ""
        self._answer: dict[str, Any] | None = None
        self._body = 0
        cache = str(request["cache"])
        try:
            self._process = subprocess.Popen(
                [python, "-I", "-B", "-X", "utf8", "-c", _START, str(_SANDBOX), program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                # BLAS must not start threads: the sandbox forbids them.
                env={
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                    "NUMBA_NUM_THREADS": "1",
                    "JAX_PLATFORMS": "cpu",
                    "QISKIT_PARALLEL": "FALSE",
                    "HOME": cache,
                    "TMPDIR": cache,
                    "MPLCONFIGDIR": cache,
                    "NUMBA_CACHE_DIR": cache,
                },
                start_new_session=True,
            )
        except OSError as error:
            raise unavailable(f"{python} cannot be started: {error.strerror}") from error

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process, which cannot have children."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @property
    def ready(self) -> bool:
        """Return whether the source has begun to run."""
        return self.answers.startswith(_READY)

    def answer(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the last answer and its payload; None while incomplete."""
        if self._answer is None:
            begin = len(_READY) if self.ready else 0
            self._body = self.answers.find(b"\n", begin, begin + _LINE_BYTES) + 1
            if not self._body:
                return ({}, b"") if len(self.answers) >= begin + _LINE_BYTES else None
            self._answer = _header(bytes(self.answers[begin : self._body]))
        size = self._answer.get("size", 0)
        if len(self.answers) - self._body < size:
            return None
        return self._answer, bytes(self.answers[self._body : self._body + size])

    def serve(self) -> None:
        """Send the request and read the output until the answer is complete or a limit is reached."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        deadline, ready = time.monotonic() + IMPORT_SECONDS, False
        with selectors.DefaultSelector() as selector:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ, self.answers)
            selector.register(process.stderr, selectors.EVENT_READ, self.printed)
            while selector.get_map():
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events or time.monotonic() > deadline:
                    self.too_much = "time"
                    return
                for key, _ in events:
                    if key.data is None:
                        if self._feed(process.stdin.fileno()):
                            selector.unregister(process.stdin)
                            process.stdin.close()
                        continue
                    piece = os.read(key.fd, 1 << 18)
                    key.data.extend(piece)
                    if not piece:
                        selector.unregister(key.fileobj)
                if self.ready and not ready:
                    deadline, ready = time.monotonic() + RUN_SECONDS, True
                if len(self.printed) > PRINTED_BYTES:
                    self.too_much = "printed"
                    return
                if len(self.answers) > CIRCUIT_BYTES + _LINE_BYTES:
                    self.too_much = "circuit"
                    return
                if self.answer() is not None and (ready or len(self.answers) > len(_READY)):
                    return
        try:
            self.ended_by = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.too_much = "time"

    def _feed(self, descriptor: int) -> bool:
        """Send a part of the request; return whether it was the last one or the pipe is closed."""
        try:
            self._send = self._send[os.write(descriptor, self._send[: 1 << 16]) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._send


def _header(line: bytes) -> dict[str, Any]:
    """Return the parsed first line of an answer; {} if it is invalid."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    size = answer.setdefault("size", 0)
    if not isinstance(size, int) or not 0 <= size <= CIRCUIT_BYTES:
        return {"reason": "TOO_LARGE"}
    return answer


def unavailable(why: str) -> ProgramError:
    """Return the error of a machine that cannot run source safely."""
    return ProgramError(
        "PYTHON_SOURCE_UNAVAILABLE",
        f"this server cannot run Python source now ({why}): send the circuit in a language that is not Python",
    )


def _understood(process: SandboxProcess, memory_bytes: int) -> Built:
    """Interpret a process's last answer, which the source may have forged.

    Raises:
        ProgramError: see `PythonSource.build`.
        LimitError: likewise.
    """
    printed = process.printed.decode(errors="replace").strip()
    said = process.answer()
    if said is None:
        raise ended_without_answer(process, printed)
    answer, body = said
    if not process.ready:
        raise unavailable(text_of(answer.get("message")))
    language = answer.get("language")
    if language in _WRITTEN and body:
        excerpt = printed if len(printed) <= _EXCERPT_CHARACTERS else printed[:_EXCERPT_CHARACTERS] + " ..."
        return Built(language, body if language == "QISKIT" else body.decode(errors="replace"), excerpt)
    reason = answer.get("reason")
    if reason == "SANDBOX_MEMORY":
        raise LimitError(
            "SANDBOX_MEMORY",
            f"the source needed more than {format_bytes(memory_bytes)} of memory: build a smaller circuit "
            "(max_task_memory_bytes, at most 2 GiB)",
        )
    if reason == "TOO_LARGE":
        raise _circuit()
    line, column = (
        value if type(value) is int and 0 < value < 2**31 else 0 for value in (answer.get("line"), answer.get("column"))
    )
    message = text_of(answer.get("message")) or "the source ended without an error message"
    where = f"line {line}: " if line else ""
    known = reason if reason in ("SYNTAX_ERROR", "NO_CIRCUIT", "UNSUPPORTED_CONSTRUCT") else "PYTHON_ERROR"
    raise ProgramError(known, where + message, line=line, column=column)


def text_of(message: object) -> str:
    """Return a storable message: truncated, and without invalid characters."""
    return message[:_MESSAGE_LIMIT].encode(errors="replace").decode() if isinstance(message, str) else ""


def ended_without_answer(process: SandboxProcess, printed: str) -> RunError:
    """Return the error for a process that ended without an answer."""
    if process.too_much == "printed":
        return LimitError("SANDBOX_OUTPUT", f"the source printed more than {PRINTED_BYTES >> 20} MiB: print less")
    if process.too_much == "circuit":
        return _circuit()
    if not process.ready:
        ended = "its SDK took too long to import" if process.too_much else f"its Python ended with {process.ended_by}"
        return unavailable(f"{ended}: {printed[-300:]}" if printed else ended)
    if process.too_much == "time" or process.ended_by in (-signal.SIGXCPU, -signal.SIGKILL):
        return LimitError(
            "SANDBOX_TIME", f"the source ran for more than {RUN_SECONDS:g} seconds: build the circuit in fewer steps"
        )
    if process.ended_by < 0:
        name = signal.Signals(-process.ended_by).name
        hint = " (it may have run out of memory)" if name == "SIGABRT" else ""
        return ProgramError("SANDBOX_DIED", f"the source's process died of {name}{hint} before it returned a circuit")
    return ProgramError(
        "SANDBOX_DIED", f"the source ended its process with {process.ended_by}: let it run to its last line instead"
    )


def _circuit() -> ProgramError:
    return ProgramError("TOO_LARGE", f"the circuit is larger than {CIRCUIT_BYTES >> 20} MiB: build a smaller one")


def cache_folder() -> Path:
    """Return the directory of files that SDKs write at import; sources can read but not write it."""
    folder = Path(tempfile.gettempdir()) / f"qonduit-python-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise unavailable(f"{folder} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise unavailable(f"{folder} is not owned by the server's user or is not private; remove it")
    return folder
