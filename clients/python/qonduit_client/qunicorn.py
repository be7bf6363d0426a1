# SPDX-License-Identifier: Apache-2.0
"""Requests of the system before, qunicorn, read from its JSON: deployments and jobs, with a path for every mistake.

Names are taken as its API writes them (camelCase) and as its own files do (snake_case). What it says and ours does not
know is refused by name, never left out silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.input_values import struct_of

#: The largest file that is read, in bytes, and the most entries of one file.
MOST_BYTES: Final = 64 * 1024 * 1024
MOST_ENTRIES: Final = 10_000
_NUMBER: Final = 2**63 - 1
#: What its names of languages mean here, and what its Python sources find imported.
_TEXT: Final = {"QASM2": "QASM2", "QASM3": "QASM3", "QUIL": "QUIL"}
_PYTHON: Final = {
    "QISKIT": "from qiskit import QuantumCircuit\n{}",
    "QRISP": "from qrisp import QuantumCircuit\n{}",
    "BRAKET": "from braket.circuits import Circuit\ncircuit = (\n{}\n)",
    "PYTHON": "{}",
}
_LANGUAGES: Final = (*_TEXT, *_PYTHON, *(f"{name}-PYTHON" for name in _PYTHON))
_TYPES: Final = ("RUNNER", "SAMPLER", "ESTIMATOR", "IBM_RUNNER", "IBM_UPLOAD")


class Refusal(ValueError):
    """An entry cannot be taken over.

    Attributes:
        path: where in the file, as "$[2].programs[0].quantumCircuit".
        why: what is wrong there and what to do.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


@dataclass
class OldDeployment:
    """A deployment. `old_id` is None where the file does not tell it: requests do not."""

    path: str
    name: str | None
    programs: list[QuantumProgram]
    old_id: int | None


@dataclass
class OldJob:
    """A job request. The token is never shown, nor is it part of what is compared."""

    path: str
    name: str | None
    device: str
    shots: int | None
    deployment_id: int
    token: str = field(repr=False)


Entry = OldDeployment | OldJob | Refusal


def entries_of(text: bytes) -> Iterator[Entry]:
    """Yield what a file holds, in its order: an object or a list of them, and a refusal for each that is wrong."""
    try:
        found = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        yield Refusal("$", "the file is not UTF-8 text; save it as JSON in UTF-8")
        return
    except json.JSONDecodeError as error:
        yield Refusal("$", f"no JSON: {error.msg} in line {error.lineno}, column {error.colno}; mend it there")
        return
    except ValueError as error:
        yield Refusal("$", f"no JSON that can be read: {error}"[:200])
        return
    except RecursionError:
        yield Refusal("$", "it is nested too deeply for a deployment or a job; look whether it is the right file")
        return
    if not isinstance(found, list):
        yield _entry(found, "$")
        return
    if len(found) > MOST_ENTRIES:
        yield Refusal("$", f"{len(found)} entries are more than {MOST_ENTRIES}; split the file")
        return
    if not found:
        yield Refusal("$", "the list is empty; give at least one deployment or job request")
    for place, each in enumerate(found):
        yield _entry(each, f"$[{place}]")


def _entry(found: object, path: str) -> Entry:
    try:
        data = _object(found, path)
        if "programs" in data:
            return _deployment(data, path)
        if _get(data, "deviceName")[1] is not None or _get(data, "providerName")[1] is not None:
            return _job(data, path)
        if "executedOn" in data or "results" in data:
            raise Refusal(path, "this is what a job answered, not its request; its results stay where they are")
        raise Refusal(path, "neither a deployment (with programs) nor a job request (with deviceName)")
    except Refusal as refusal:
        return refusal


def _deployment(data: Mapping[str, Any], path: str) -> OldDeployment:
    programs = data["programs"]
    if not isinstance(programs, list) or not programs:
        raise Refusal(f"{path}.programs", f"give a list of at least one program, not {_shown(programs)}")
    read = [_program(_object(each, where), where) for each, where in _numbered(programs, f"{path}.programs")]
    return OldDeployment(path, _name(data, path), read, _whole(data, "id", path, least=0))


def _program(data: Mapping[str, Any], path: str) -> QuantumProgram:
    where, language = _text(data, "assemblerLanguage", path)
    if not language:
        raise Refusal(where, f"name one of {', '.join(_LANGUAGES)}")
    name = language.upper().replace("_", "-")
    source_at, source = _text(data, "quantumCircuit", path)
    file_at, file_path = _text(data, "pythonFilePath", path)
    metadata_at, metadata = _text(data, "pythonFileMetadata", path)
    if not source:
        raise Refusal(source_at, f"there is no program; runs of uploaded files ({file_at}) are not taken over")
    program = QuantumProgram(python_file_path=file_path, python_file_metadata=metadata)
    if len(file_path.encode()) > 4096 or len(metadata.encode()) > 65536:
        raise Refusal(file_at if len(file_path.encode()) > 4096 else metadata_at, "it is too long")
    for old, target in (("pythonFileOptions", "python_file_options"), ("pythonFileInputs", "python_file_inputs")):
        at, values = _get(data, old, path)
        if values is not None:
            try:
                getattr(program, target).CopyFrom(struct_of(_object(values, at)))
            except ValueError as error:
                raise Refusal(at, error.why if isinstance(error, Refusal) else str(error)) from None
    plain = name.removesuffix("-PYTHON")
    if name in _TEXT:
        program.quantum_circuit, known = source, _TEXT[name]
    elif plain in _PYTHON and not (name == plain and source.lstrip().startswith("OPENQASM")):
        program.quantum_circuit, known = _PYTHON[plain].format(source), plain
    elif plain in _PYTHON:
        program.quantum_circuit, known = source, plain
    elif name == "QUIL-PYTHON":
        raise Refusal(where, "pyQuil's Python is not run here: send what the program prints, as QUIL")
    else:
        raise Refusal(where, f"{_shown(language)} is none of {', '.join(_LANGUAGES)}")
    program.assembler_language = f"ASSEMBLER_LANGUAGE_{known}"  # type: ignore[assignment]
    return program


def _job(data: Mapping[str, Any], path: str) -> OldJob:
    provider_at, provider = _text(data, "providerName", path)
    device_at, device = _text(data, "deviceName", path)
    for at, value in ((provider_at, provider), (device_at, device)):
        if not value or len(value) > 120:
            raise Refusal(at, "name it, as IBM and aer_simulator")
    type_at, kind = _text(data, "type", path)
    if kind.upper() not in _TYPES:
        raise Refusal(type_at, f"{_shown(kind)} is none of {', '.join(_TYPES)}")
    if kind.upper() != "RUNNER":
        raise Refusal(type_at, f"{kind} jobs are not taken over; RUNNER gives counts and probabilities")
    mitigation_at, mitigation = _text(data, "errorMitigation", path)
    if mitigation not in ("", "none"):
        raise Refusal(mitigation_at, f"{_shown(mitigation)} is not done here; say none")
    cut_at, cut = _get(data, "cutToWidth", path)
    if cut is not None:
        raise Refusal(cut_at, "circuits are not cut here; leave it out and choose a device with enough qubits")
    deployment_id = _whole(data, "deploymentId", path, least=0)
    if deployment_id is None:
        raise Refusal(f"{path}.deploymentId", "say which deployment to run")
    token = _text(data, "token", path)[1]
    if len(token.encode()) > 4096:
        raise Refusal(f"{path}.token", "it is longer than 4096 bytes")
    shots = _whole(data, "shots", path, least=1)
    return OldJob(path, _name(data, path), f"{provider.upper()}/{device}", shots, deployment_id, token)


def _name(data: Mapping[str, Any], path: str) -> str | None:
    at, name = _text(data, "name", path)
    if len(name.encode()) > 255:
        raise Refusal(at, "a name has at most 255 bytes")
    return name or None


def _text(data: Mapping[str, Any], name: str, path: str) -> tuple[str, str]:
    """Where a text stands, and it; empty where it is missing or null."""
    at, value = _get(data, name, path)
    if value is None:
        return at, ""
    if not isinstance(value, str):
        raise Refusal(at, f"give a text, not {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(at, "it holds characters that are none (half of a pair); write them again") from None
    return at, value


def _whole(data: Mapping[str, Any], name: str, path: str, *, least: int) -> int | None:
    at, value = _get(data, name, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _NUMBER:
        raise Refusal(at, f"give a whole number from {least}, not {_shown(value)}")
    return value


def _get(data: Mapping[str, Any], name: str, path: str = "$") -> tuple[str, Any]:
    """Return a value by its name in camelCase or snake_case, and where it stands."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    found = name if name in data or snake not in data else snake
    return f"{path}.{found}", data.get(found)


def _object(found: object, path: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise Refusal(path, f"give an object, not {_shown(found)}")
    return found


def _numbered(several: list[object], path: str) -> Iterator[tuple[object, str]]:
    for place, each in enumerate(several):
        yield each, f"{path}[{place}]"


def _shown(value: object) -> str:
    """Return a value on a line, cut short; of containers only the kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _NUMBER:
        return "a number beyond 64 bits"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
