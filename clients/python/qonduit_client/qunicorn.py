# SPDX-License-Identifier: Apache-2.0
"""Parse deployments and job requests of the predecessor system qunicorn from JSON; errors contain the JSON path.

Field names may be camelCase, as in its API, or snake_case, as in its files. Unsupported values are rejected, never
ignored. A program without a circuit is an uploaded file: its Python file and its metadata are read, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.input_values import struct_of

#: Maximum size of a file in bytes, and of entries per file.
MOST_BYTES: Final = 64 * 1024 * 1024
MOST_ENTRIES: Final = 10_000
_NUMBER: Final = 2**63 - 1
#: The languages of qunicorn by our names, and templates with the imports of its Python sources.
_TEXT: Final = {"QASM2": "QASM2", "QASM3": "QASM3", "QUIL": "QUIL"}
_PYTHON: Final = {
    "QISKIT": "from qiskit import QuantumCircuit\n{}",
    "QRISP": "from qrisp import QuantumCircuit\n{}",
    "BRAKET": "from braket.circuits import Circuit\ncircuit = (\n{}\n)",
    "PYTHON": "{}",
}
_LANGUAGES: Final = (*_TEXT, *_PYTHON, *(f"{name}-PYTHON" for name in _PYTHON))
_IMPORTED: Final = ("RUNNER", "IBM_RUNNER", "IBM_UPLOAD")
_TYPES: Final = ("RUNNER", "SAMPLER", "ESTIMATOR", "IBM_RUNNER", "IBM_UPLOAD")


class Refusal(ValueError):
    """An entry that cannot be imported.

    Attributes:
        path: its JSON path, as "$[2].programs[0].quantumCircuit".
        why: the problem and the fix.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


@dataclass
class OldDeployment:
    """A deployment. `old_id` is unset in files without ids, as in requests."""

    path: str
    name: str | None
    programs: list[QuantumProgram]
    old_id: int | None


@dataclass
class OldJob:
    """A job request. The token is never part of its text.

    `kind` is RUNNER, IBM_UPLOAD (of a Python file) or IBM_RUNNER (of such a file, uploaded).
    """

    path: str
    name: str | None
    device: str
    shots: int | None
    deployment_id: int
    token: str = field(repr=False)
    kind: str = "RUNNER"


#: Returns the text of a file that an entry names. Raises ValueError with the reason, for display.
ReadFile: TypeAlias = Callable[[str], str]


def no_files(name: str) -> str:
    """Refuse to read a file."""
    raise ValueError(f"{name[:200]} cannot be read from here: import the entry from a file beside it")


Entry = OldDeployment | OldJob | Refusal


def entries_of(text: bytes, read_file: ReadFile = no_files) -> Iterator[Entry]:
    """Yield the entries of a file (an object or a list) in order, with a `Refusal` for each invalid one.

    Args:
        text: the content of the file.
        read_file: reads the Python files and metadata that programs name.
    """
    try:
        found = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        yield Refusal("$", "the file is not UTF-8 text; save it as JSON in UTF-8")
        return
    except json.JSONDecodeError as error:
        yield Refusal("$", f"invalid JSON: {error.msg} in line {error.lineno}, column {error.colno}")
        return
    except ValueError as error:
        yield Refusal("$", f"invalid JSON: {error}"[:200])
        return
    except RecursionError:
        yield Refusal("$", "nested too deeply for a deployment or a job; check the file")
        return
    if not isinstance(found, list):
        yield _entry(found, "$", read_file)
        return
    if len(found) > MOST_ENTRIES:
        yield Refusal("$", f"a file has at most {MOST_ENTRIES} entries, got {len(found)}; split the file")
        return
    if not found:
        yield Refusal("$", "the list is empty; it must contain a deployment or job request")
    for place, each in enumerate(found):
        yield _entry(each, f"$[{place}]", read_file)


def _entry(found: object, path: str, read_file: ReadFile) -> Entry:
    try:
        data = _object(found, path)
        if "programs" in data:
            return _deployment(data, path, read_file)
        if _get(data, "deviceName")[1] is not None or _get(data, "providerName")[1] is not None:
            return _job(data, path)
        if "executedOn" in data or "results" in data:
            raise Refusal(path, "this is the response of a job, not a request; results are not imported")
        raise Refusal(path, "expected a deployment (with programs) or a job request (with deviceName)")
    except Refusal as refusal:
        return refusal


def _deployment(data: Mapping[str, Any], path: str, read_file: ReadFile) -> OldDeployment:
    programs = data["programs"]
    if not isinstance(programs, list) or not programs:
        raise Refusal(f"{path}.programs", f"expected a list of at least one program, got {_shown(programs)}")
    read = [_program(_object(each, where), where, read_file) for each, where in _numbered(programs, f"{path}.programs")]
    return OldDeployment(path, _name(data, path), read, _whole(data, "id", path, least=0))


def _program(data: Mapping[str, Any], path: str, read_file: ReadFile) -> QuantumProgram:
    if not _text(data, "quantumCircuit", path)[1] and _text(data, "pythonFilePath", path)[1]:
        return _python_file(data, path, read_file)
    where, language = _text(data, "assemblerLanguage", path)
    if not language:
        raise Refusal(where, f"required: one of {', '.join(_LANGUAGES)}")
    name = language.upper().replace("_", "-")
    source_at, source = _text(data, "quantumCircuit", path)
    file_at, file_path = _text(data, "pythonFilePath", path)
    metadata_at, metadata = _text(data, "pythonFileMetadata", path)
    if not source:
        raise Refusal(source_at, f"the program is missing; an uploaded file has {file_at}")
    program = QuantumProgram(python_file_path=file_path, python_file_metadata=metadata)
    _add_options(program, data, path)
    if len(file_path.encode()) > 4096 or len(metadata.encode()) > 65536:
        raise Refusal(file_at if len(file_path.encode()) > 4096 else metadata_at, "too long")
    plain = name.removesuffix("-PYTHON")
    if name in _TEXT:
        program.quantum_circuit, known = source, _TEXT[name]
    elif plain in _PYTHON and not (name == plain and source.lstrip().startswith("OPENQASM")):
        program.quantum_circuit, known = _PYTHON[plain].format(source), plain
    elif plain in _PYTHON:
        program.quantum_circuit, known = source, plain
    elif name == "QUIL-PYTHON":
        raise Refusal(where, "Python source for pyQuil is not supported: send the printed program as QUIL")
    else:
        raise Refusal(where, f"expected one of {', '.join(_LANGUAGES)}, got {_shown(language)}")
    program.assembler_language = f"ASSEMBLER_LANGUAGE_{known}"  # type: ignore[assignment]
    return program


def _python_file(data: Mapping[str, Any], path: str, read_file: ReadFile) -> QuantumProgram:
    """Return the program of an uploaded file, with the contents of the file and of its metadata."""
    file_at, file_path = _text(data, "pythonFilePath", path)
    metadata_at, metadata = _text(data, "pythonFileMetadata", path)
    program = QuantumProgram(
        assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON,
        python_file_path=file_path.replace("\\", "/").rpartition("/")[2],
    )
    try:
        program.quantum_circuit = read_file(file_path)
    except ValueError as error:
        raise Refusal(file_at, str(error)) from None
    try:
        is_text = not metadata or metadata.lstrip().startswith("{")
        program.python_file_metadata = metadata if is_text else read_file(metadata)
    except ValueError as error:
        raise Refusal(metadata_at, str(error)) from None
    _add_options(program, data, path)
    # The job names the device.
    for unused in ("backend", "backend_name"):
        program.python_file_options.fields.pop(unused, None)
    return program


def _add_options(program: QuantumProgram, data: Mapping[str, Any], path: str) -> None:
    for old, target in (("pythonFileOptions", "python_file_options"), ("pythonFileInputs", "python_file_inputs")):
        at, values = _get(data, old, path)
        if isinstance(values, list) and len(values) == 1:
            values = values[0]  # as in qunicorn's files
        if values is not None:
            try:
                getattr(program, target).CopyFrom(struct_of(_object(values, at)))
            except ValueError as error:
                raise Refusal(at, error.why if isinstance(error, Refusal) else str(error)) from None


def _job(data: Mapping[str, Any], path: str) -> OldJob:
    provider_at, provider = _text(data, "providerName", path)
    device_at, device = _text(data, "deviceName", path)
    for at, value in ((provider_at, provider), (device_at, device)):
        if not value or len(value) > 120:
            raise Refusal(at, "required, at most 120 characters, as IBM and aer_simulator")
    type_at, kind = _text(data, "type", path)
    if kind.upper() not in _TYPES:
        raise Refusal(type_at, f"expected one of {', '.join(_TYPES)}, got {_shown(kind)}")
    if kind.upper() not in _IMPORTED:
        raise Refusal(type_at, f"{kind} jobs are not imported; RUNNER returns counts and probabilities")
    mitigation_at, mitigation = _text(data, "errorMitigation", path)
    if mitigation not in ("", "none"):
        raise Refusal(mitigation_at, f"{_shown(mitigation)} is not supported; use none")
    cut_at, cut = _get(data, "cutToWidth", path)
    if cut is not None:
        raise Refusal(cut_at, "circuit cutting is not supported; remove it and choose a device with enough qubits")
    deployment_id = _whole(data, "deploymentId", path, least=0)
    if deployment_id is None:
        raise Refusal(f"{path}.deploymentId", "required: the id of the deployment to run")
    token = _text(data, "token", path)[1]
    if len(token.encode()) > 4096:
        raise Refusal(f"{path}.token", "longer than 4096 bytes")
    shots = _whole(data, "shots", path, least=1)
    name, device = _name(data, path), f"{provider.upper()}/{device}"
    return OldJob(path, name, device, shots, deployment_id, token, kind.upper())


def _name(data: Mapping[str, Any], path: str) -> str | None:
    at, name = _text(data, "name", path)
    if len(name.encode()) > 255:
        raise Refusal(at, "a name has at most 255 bytes")
    return name or None


def _text(data: Mapping[str, Any], name: str, path: str) -> tuple[str, str]:
    """Return the path and the value of a string; empty if it is missing or null."""
    at, value = _get(data, name, path)
    if value is None:
        return at, ""
    if not isinstance(value, str):
        raise Refusal(at, f"expected a string, got {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(at, "the string contains unpaired surrogates") from None
    return at, value


def _whole(data: Mapping[str, Any], name: str, path: str, *, least: int) -> int | None:
    at, value = _get(data, name, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _NUMBER:
        raise Refusal(at, f"expected an integer of at least {least}, got {_shown(value)}")
    return value


def _get(data: Mapping[str, Any], name: str, path: str = "$") -> tuple[str, Any]:
    """Return the path and the value of a field by its name in camelCase or snake_case."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    found = name if name in data or snake not in data else snake
    return f"{path}.{found}", data.get(found)


def _object(found: object, path: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise Refusal(path, f"expected an object, got {_shown(found)}")
    return found


def _numbered(several: list[object], path: str) -> Iterator[tuple[object, str]]:
    for place, each in enumerate(several):
        yield each, f"{path}[{place}]"


def _shown(value: object) -> str:
    """Return a value as one truncated line; only the type of containers."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _NUMBER:
        return "a number beyond 64 bits"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
