# SPDX-License-Identifier: Apache-2.0
"""The metadata and the options of server programs: Python programs that IBM_UPLOAD stores and IBM_RUNNER runs.

Pure Python: the server refuses a request at once that breaks a rule. Workers read the same values. JSON Schemas are
checked in workers alone (`worker/program_checks.py`), because a pattern can take long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final, NoReturn

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_server.errors import Violation

#: The environment of programs that name none.
DEFAULT_ENVIRONMENT: Final = "default"
#: The function that runs if the options name none.
DEFAULT_ENTRY_POINT: Final = "main"
#: The parts of the metadata that are JSON Schemas.
SCHEMAS: Final = ("parameters", "return_values", "interim_results")
#: Those of what a program sends.
OUTPUT_SCHEMAS: Final = ("return_values", "interim_results")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Of the name of a server program. "@" separates it from a version.
MAX_NAME_BYTES: Final = 255
MAX_DESCRIPTION_BYTES: Final = 1024
#: Limits of one run in seconds and bytes, and the number of its child jobs: the largest values.
_MAX_SECONDS: Final = 10_000_000
_MAX_NUMBER: Final = 2**53


@dataclass(frozen=True)
class ProgramMetadata:
    """What the metadata of a program state. Empty values are not stated.

    Attributes:
        name: the name of the server program.
        description: for display.
        max_execution_time: the time limit of a run in seconds; 0 if none is stated.
        min_num_qubits: the least number of qubits of the device.
        schemas: the JSON Schemas, by the names in `SCHEMAS`.
    """

    name: str = ""
    description: str = ""
    max_execution_time: float = 0.0
    min_num_qubits: int = 0
    schemas: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """The options of a program. A limit of 0 is that of the server.

    Attributes:
        environment: the name of the Python environment.
        entry_point: the function to run; empty for `main`, or the source as a script if it has none.
        log_level: the lowest level of log records that become events.
        max_execution_time: the time limit of a run in seconds.
        max_memory_bytes: the memory that a run may use beyond its packages.
        max_child_jobs: the number of jobs that a run may submit.
    """

    environment: str = DEFAULT_ENVIRONMENT
    entry_point: str = ""
    log_level: str = "INFO"
    max_execution_time: float = 0.0
    max_memory_bytes: int = 0
    max_child_jobs: int = 0


class MetadataError(Exception):
    """Metadata or options that break a rule.

    Attributes:
        path: of the value, within them: "spec.parameters"; empty for the whole.
        message: the problem, for display.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message


def time_limit(metadata: ProgramMetadata, options: RunOptions) -> float:
    """Return the time limit of a run in seconds: the lower one; 0 if neither states one."""
    return min(filter(None, (metadata.max_execution_time, options.max_execution_time)), default=0.0)


def name_of(program: QuantumProgram, fallback: str = "") -> str:
    """Return the name of a server program: of its metadata, or `fallback`, or of its file without the suffix."""
    return read_metadata(program.python_file_metadata).name or fallback or PurePath(program.python_file_path).stem


def read_metadata(text: str) -> ProgramMetadata:
    """Return what metadata state. Keys that this server does not know are ignored. Raises MetadataError."""
    if not text.strip():
        return ProgramMetadata()
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise MetadataError("", f"invalid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise MetadataError("", f"invalid JSON: {error}"[:200]) from None
    except RecursionError:
        raise MetadataError("", "nested too deeply") from None
    if not isinstance(found, dict):
        raise MetadataError("", f"must be a JSON object, got {_shown(found)}")
    spec = found.get("spec") or {}
    if not isinstance(spec, dict):
        raise MetadataError("spec", f"must be an object, got {_shown(spec)}")
    requirements = spec.get("backend_requirements", found.get("backend_requirements")) or {}
    if not isinstance(requirements, dict):
        raise MetadataError("backend_requirements", f"must be an object, got {_shown(requirements)}")
    schemas = {}
    for part in SCHEMAS:
        where = f"spec.{part}" if part in spec else part
        schema = spec.get(part, found.get(part))
        if schema is None:
            continue
        if not isinstance(schema, dict | bool):
            raise MetadataError(where, f"must be a JSON Schema (an object), got {_shown(schema)}")
        schemas[part] = schema
    return ProgramMetadata(
        name=_text(found, "name", MAX_NAME_BYTES),
        description=_text(found, "description", MAX_DESCRIPTION_BYTES),
        max_execution_time=_seconds(found, "max_execution_time", ""),
        min_num_qubits=_whole(requirements, "min_num_qubits", "backend_requirements."),
        schemas=schemas,
    )


def read_options(options: Struct) -> RunOptions:
    """Return the options of a program. Raises MetadataError for unknown keys, too."""
    found = MessageToDict(options)
    _refuse_unknown(found, ("environment", "entry_point", "log_level", "limits"), "")
    limits = found.get("limits") or {}
    if not isinstance(limits, dict):
        raise MetadataError("limits", f"must be an object, got {_shown(limits)}")
    _refuse_unknown(limits, ("max_execution_time", "max_memory_bytes", "max_child_jobs"), "limits.")
    entry_point = _text(found, "entry_point", 255)
    if entry_point and not entry_point.isidentifier():
        raise MetadataError("entry_point", f"must be the name of a function, got {_shown(entry_point)}")
    level = _text(found, "log_level", 20).upper() or "INFO"
    if level not in LOG_LEVELS:
        raise MetadataError("log_level", f"must be one of {', '.join(LOG_LEVELS)}, got {_shown(found['log_level'])}")
    return RunOptions(
        environment=_text(found, "environment", 255) or DEFAULT_ENVIRONMENT,
        entry_point=entry_point,
        log_level=level,
        max_execution_time=_seconds(limits, "max_execution_time", "limits."),
        max_memory_bytes=_whole(limits, "max_memory_bytes", "limits."),
        max_child_jobs=_whole(limits, "max_child_jobs", "limits."),
    )


def broken(program: QuantumProgram, path: str, environments: Collection[str]) -> Iterator[Violation]:
    """Yield the violations of the metadata and the options of a program.

    Args:
        program: the program.
        path: its path in the request.
        environments: the names of the environments of the server.
    """
    checks: dict[str, Callable[[], object]] = {
        "python_file_metadata": lambda: read_metadata(program.python_file_metadata),
        "python_file_options": lambda: _known_environment(read_options(program.python_file_options), environments),
    }
    for name, read in checks.items():
        try:
            read()
        except MetadataError as error:
            where = ".".join(filter(None, (f"{path}.{name}", error.path)))
            yield Violation(where, f"program.{name}", f"{where}: {error.message}")


def named(name: str) -> str:
    """Return a name of a server program. Raises MetadataError if it is empty or cannot be one."""
    if not name.strip():
        raise MetadataError("name", "required: the name of the server program (or that of the deployment)")
    if "@" in name or not name.isprintable():
        raise MetadataError("name", f"must be printable and without @, got {_shown(name)}")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise MetadataError("name", f"must have at most {MAX_NAME_BYTES} bytes")
    return name


def _known_environment(options: RunOptions, environments: Collection[str]) -> None:
    if options.environment not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise MetadataError(
            "environment",
            f"this server has no environment {_shown(options.environment)} (python_environments); known: {known}",
        )


def _refuse_unknown(found: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for key in found:
        if key not in known:
            raise MetadataError(f"{path}{key:.60}", f"unknown; known: {', '.join(known)}")


def _text(found: Mapping[str, Any], key: str, most: int) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MetadataError(key, f"must be a string, got {_shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise MetadataError(key, "contains unpaired surrogates") from None
    if size > most:
        raise MetadataError(key, f"must have at most {most} bytes, got {size}")
    return value


def _seconds(found: Mapping[str, Any], key: str, path: str) -> float:
    value = found.get(key)
    if value is None:
        return 0.0
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    if not valid or not 0 < value <= _MAX_SECONDS:
        raise MetadataError(f"{path}{key}", f"must be a number of seconds above 0, got {_shown(value)}")
    return float(value)


def _whole(found: Mapping[str, Any], key: str, path: str) -> int:
    value = found.get(key)
    if value is None:
        return 0
    # Numbers of a Struct are floating-point.
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    if not valid or not 0 <= value <= _MAX_NUMBER or value != int(value):
        raise MetadataError(f"{path}{key}", f"must be an integer of at least 0, got {_shown(value)}")
    return int(value)


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value)[:60]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
