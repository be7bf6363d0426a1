# SPDX-License-Identifier: Apache-2.0
"""Run one program in its process: find what to call, call it, and send its output or its error."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import linecache
import logging
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.program_pb2 import ProgramError, ProgramStart
from qonduit_client import circuits, transport
from qonduit_client.client import Client
from qonduit_client.program_values import decode, encode
from qonduit_server.languages.python.sandbox.confinement import Confinement
from qonduit_server.program_metadata import read_metadata
from qonduit_server.program_sandbox import offered_modules
from qonduit_server.program_sandbox.channel import Channel, ServerGone
from qonduit_server.program_sandbox.channel_transport import ChannelTransport
from qonduit_server.program_sandbox.messenger import LogEvents, PrintedText, UserMessenger

#: The file of a program that has no name.
_FILE: Final = "program.py"
#: The function that runs if the options name none.
_MAIN: Final = "main"
#: The largest output as JSON, in bytes.
MAX_OUTPUT_BYTES: Final = 32 * 1024**2
_MESSAGE_CHARACTERS: Final = 1800
_HINT: Final = "; a program runs in a sandbox, without files, network, processes and threads"


def warm() -> None:
    """Use what every program needs once, before programs are forked."""
    encode({"warm": [1, 2.0]})
    ast.parse("def main(backend, user_messenger):\n    pass\n")


def run(descriptor: int, confinement: Confinement) -> None:
    """Run the program that arrives on a socket. The process is confined before the first line of its source."""
    channel = Channel(descriptor)
    start = channel.start()
    confinement.lock(start.memory_bytes, start.cpu_seconds or 2**31)
    output = PrintedText(channel)
    sys.stdout = sys.stderr = output
    channel.send(started=True)
    logging.basicConfig(handlers=[LogEvents(output)], level=start.log_level or "INFO", force=True)
    transport.use_in_program(ChannelTransport(channel, output.flush))
    circuits.name_parameters()
    schemas = read_metadata(start.metadata).schemas
    messenger = UserMessenger(channel, output, partial(_violation, schemas.get("interim_results")))
    try:
        _check_inputs(schemas.get("parameters"), MessageToDict(start.inputs))
        content = _Program(start, messenger, schemas.get("return_values")).output()
    except ServerGone:
        return
    except MemoryError:
        output.flush(everything=True)
        channel.send(failed=ProgramError(reason="SANDBOX_MEMORY"))
    except _Failure as failure:
        output.flush(everything=True)
        channel.send(failed=failure.error)
    else:
        output.flush(everything=True)
        channel.send(output=content)


class _Failure(Exception):
    """The program has failed."""

    def __init__(self, error: ProgramError) -> None:
        super().__init__()
        self.error = error


class _Program:
    """One program.

    Args:
        start: what to run.
        messenger: its messenger.
        schema: the JSON Schema of its output, if there is one.
    """

    def __init__(self, start: ProgramStart, messenger: UserMessenger, schema: Any = None) -> None:
        self._start = start
        self._messenger = messenger
        self._schema = schema
        self._file = start.file or _FILE
        self._inputs: dict[str, Any] = decode(MessageToDict(start.inputs))
        self._saved = offered_modules.offer(self._inputs, self._service)

    def output(self) -> bytes:
        """Run the program and return its output as JSON. Raises _Failure, MemoryError, ServerGone."""
        source = self._start.source
        linecache.cache[self._file] = (len(source), None, source.splitlines(keepends=True), self._file)
        try:
            returned = self._run(source)
        except (MemoryError, ServerGone, _Failure):
            raise
        except SystemExit as error:
            if error.code not in (None, 0):
                raise _Failure(self._error(error, f"the program ended itself with sys.exit({error.code!r})")) from None
            returned = None
        except BaseException as error:  # noqa: BLE001 - a source may raise anything; the failure has the traceback
            raise _Failure(self._error(error)) from None
        if returned is None:
            returned = next(iter(self._saved.value or self._messenger.final), None)
        try:
            value = encode(returned)
            content = json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            message = f"the result of the program cannot be stored: {error}"
            raise _Failure(ProgramError(reason="INVALID_OUTPUT", message=message[:_MESSAGE_CHARACTERS])) from None
        if len(content) > MAX_OUTPUT_BYTES:
            message = (
                f"the result has {len(content)} bytes as JSON, and may have at most {MAX_OUTPUT_BYTES}: return less"
            )
            raise _Failure(ProgramError(reason="RESULT_TOO_LARGE", message=message))
        if violation := _violation(self._schema, value):
            message = f"the result violates the schema return_values of the program: {violation}"
            raise _Failure(ProgramError(reason="INVALID_OUTPUT", message=message[:_MESSAGE_CHARACTERS]))
        return content

    def _run(self, source: str) -> Any:
        tree = self._parsed(source)
        name = self._start.entry_point or _MAIN
        defined = any(isinstance(each, ast.FunctionDef) and each.name == name for each in tree.body)
        if self._start.entry_point and not defined:
            raise _Failure(ProgramError(reason="NO_ENTRY_POINT", message=f"the source defines no function {name!r}"))
        # A guard `if __name__ == "__main__"` of a program with a function is for runs without a server.
        module = types.ModuleType("program" if defined else "__main__")
        sys.modules[module.__name__] = module
        sys.argv = [self._file]
        exec(compile(tree, self._file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this file is for
        return self._call(getattr(module, name)) if defined else None

    def _call(self, function: Any) -> Any:
        """Call the function of a program with its inputs, and with what it takes of the server by its parameters."""
        if not callable(function):
            raise TypeError(f"{self._start.entry_point or _MAIN} is a {type(function).__name__}, not a function")
        parameters = list(inspect.signature(function).parameters.values())
        positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        arguments: list[Any] = []
        # The first two have their places, whatever their names, unless an input has the name.
        if positional and self._is_free(positional[0]):
            arguments.append(self._backend())
            second = positional[1] if len(positional) > 1 else None
            if second is not None and self._is_free(second) and second.default in (second.empty, None):
                arguments.append(self._messenger)
        offered = {"backend": self._backend, "user_messenger": lambda: self._messenger, **self._offered()}
        named = {
            each.name: offered[each.name]()
            for each in parameters[len(arguments) :]
            if each.name in offered and each.name not in self._inputs
        }
        return function(*arguments, **named, **self._inputs)

    def _offered(self) -> dict[str, Callable[[], Any]]:
        """Return what a program gets by the name of a parameter alone."""
        return {"service": self._service, "cirq_sampler": self._cirq_sampler, "braket_device": self._braket_device}

    def _is_free(self, parameter: inspect.Parameter) -> bool:
        return parameter.name not in self._offered() and parameter.name not in self._inputs

    def _parsed(self, source: str) -> ast.Module:
        try:
            return ast.parse(source, self._file)
        except ValueError as error:  # older versions of Python raise it for a null character
            raise SyntaxError(str(error), (self._file, 0, 0, "")) from None

    def _backend(self) -> Any:
        from qonduit_client.qiskit import QonduitBackend

        return QonduitBackend(self._start.device, Client())

    def _cirq_sampler(self) -> Any:
        from qonduit_client.cirq import QonduitSampler

        return QonduitSampler(Client(), self._start.device)

    def _braket_device(self) -> Any:
        from qonduit_client.braket import QonduitDevice

        return QonduitDevice(self._start.device, Client())

    def _service(self) -> Any:
        from qonduit_client.qiskit import QonduitProvider

        return _Service(QonduitProvider(Client()), self._start.device)

    def _error(self, error: BaseException, what: str = "") -> ProgramError:
        """Return the error with the traceback of the program's own frames."""
        if isinstance(error, SyntaxError) and error.filename in (None, self._file):
            message = f"Python: {error.msg}"
            return ProgramError(
                reason="SYNTAX_ERROR", message=message, line=error.lineno or 0, column=error.offset or 0
            )
        frames = [
            (frame.f_code.co_name, number)
            for frame, number in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self._file
        ]
        lines = [what or _described(error)]
        for name, number in reversed(frames):
            code = linecache.getline(self._file, number).strip()
            lines.append(f'  File "{self._file}", line {number}, in {name}: {code}'[:300])
        return ProgramError(
            reason="PYTHON_ERROR",
            message="\n".join(lines)[:_MESSAGE_CHARACTERS].encode(errors="replace").decode(),
            line=frames[-1][1] if frames else 0,
        )


class _Service:
    """The devices of the server, as programs of qiskit-ibm-runtime expect a service.

    Args:
        provider: that of the client.
        device: the device of the program, which is the default.
    """

    def __init__(self, provider: Any, device: str) -> None:
        self._provider = provider
        self._device = device

    def backend(self, name: str | None = None, **_: Any) -> Any:
        """Return a backend; by default that of the program."""
        return self._provider.get_backend(name or self._device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


def _check_inputs(schema: Any, inputs: dict[str, Any]) -> None:
    """Check the inputs, unless the environment cannot: the server has checked those of jobs that came alone.

    Raises:
        _Failure: they violate the schema.
    """
    if find_spec("jsonschema") is not None and (violation := _violation(schema, inputs)):
        message = f"the inputs violate the schema parameters of the program: {violation}"
        raise _Failure(ProgramError(reason="INVALID_INPUTS", message=message[:_MESSAGE_CHARACTERS]))


def _violation(schema: Any, value: object) -> str:
    """Return how a value violates a schema, with the path of the first error; empty if it does not."""
    if schema is None:
        return ""
    try:
        from qonduit_server.json_schemas import value_violations
    except ImportError as error:
        return f"it cannot be checked: the environment lacks {error.name}"
    found = value_violations(schema, value)
    return f"{found[0].path}: {found[0].message}".removeprefix(": ") if found else ""


def _described(error: BaseException) -> str:
    try:
        described = str(error)
    except BaseException:  # noqa: BLE001 - the error may be the source's own
        described = "(its message is unavailable)"
    text = f"{type(error).__name__}: {described}" if described else type(error).__name__
    refused = isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EFBIG)
    if refused or (isinstance(error, RuntimeError) and "start new thread" in described):
        text += _HINT
    return text
