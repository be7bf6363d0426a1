# SPDX-License-Identifier: Apache-2.0
"""The limits of one server program, and what it may send: lines, published values, progress."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value

from qonduit.execution.v1.task_pb2 import TaskProgram
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit_server.program_metadata import MetadataError, read_metadata, read_options, time_limit

#: What the lines of a program may have together: events and bytes.
MAX_LINES: Final = 5000
MAX_TEXT_BYTES: Final = 1024**2
#: The published values of a program: their number, and the size of each as a message.
MAX_PUBLISHED: Final = 10_000
MAX_VALUE_BYTES: Final = 64 * 1024
#: Messages that are no calls: at once, and per second. A program that sends more waits.
BURST: Final = 400.0
RATE: Final = 100.0
#: The deepest nesting of a value.
_MAX_DEPTH: Final = 40
_DROPPED: Final = "the program printed more than a job keeps; the rest is dropped"


@dataclass(frozen=True)
class ProgramLimits:
    """The limits of the programs of a server; 0 means no limit.

    Attributes:
        seconds: the time limit of a run.
        memory_bytes: the memory that a run may add.
        children: the number of jobs that a run submits.
    """

    seconds: float = 0.0
    memory_bytes: int = 0
    children: int = 0

    def of(self, program: TaskProgram) -> ProgramLimits:
        """Return the limits of a program: those of the server, or its own lower ones."""
        try:
            options = read_options(program.options)
            own = time_limit(read_metadata(program.metadata), options)
        except MetadataError:  # stored before this version checked it
            return self
        return ProgramLimits(
            _lower(self.seconds, own),
            int(_lower(self.memory_bytes, options.max_memory_bytes)),
            int(_lower(self.children, options.max_child_jobs)),
        )


def entry_of(program: TaskProgram) -> tuple[str, str, str]:
    """Return the environment, the entry point and the level of log records of a program. Raises MetadataError."""
    options = read_options(program.options)
    return options.environment, options.entry_point, options.log_level


def inputs_of(program: TaskProgram, inputs: Struct) -> Struct:
    """Return the inputs of a run: those of the job override the program's own."""
    merged = Struct()
    merged.MergeFrom(program.inputs)
    for name, value in inputs.fields.items():
        merged.fields[name].CopyFrom(value)
    return merged


class OutputMeter:
    """Counts what a program sends; its rate by a bucket of tokens.

    Args:
        now: the time in seconds.
    """

    def __init__(self, now: float) -> None:
        self._tokens = BURST
        self._at = now
        self._lines = 0
        self._text = 0
        self._published = 0

    def take(self, now: float) -> float:
        """Count a message; return the seconds for which no further message should be read."""
        self._tokens = min(BURST, self._tokens + (now - self._at) * RATE) - 1.0
        self._at = now
        return max(0.0, -self._tokens / RATE)

    def line(self, log: LogLine) -> LogLine | None:
        """Return the line to store; None for one that is dropped."""
        if self._lines >= MAX_LINES or self._text >= MAX_TEXT_BYTES:
            return None
        self._lines += 1
        self._text += len(log.message)
        if self._lines >= MAX_LINES or self._text >= MAX_TEXT_BYTES:
            return LogLine(level=LogLevel.LOG_LEVEL_WARNING, message=_DROPPED)
        level = log.level if log.level in (LogLevel.LOG_LEVEL_INFO, LogLevel.LOG_LEVEL_WARNING) else 1
        return LogLine(level=level, message=log.message)  # type: ignore[arg-type]

    def publishes(self, value: Value) -> bool:
        """Count a published value; return whether it is within the limits, and JSON."""
        self._published += 1
        return self._published <= MAX_PUBLISHED and value.ByteSize() <= MAX_VALUE_BYTES and is_json(value)


def is_json(value: Value, depth: int = 0) -> bool:
    """Return whether a value can be written as JSON, in every client."""
    match value.WhichOneof("kind"):
        case None:
            return False
        case "number_value":
            return math.isfinite(value.number_value)
        case "list_value":
            return depth < _MAX_DEPTH and all(is_json(each, depth + 1) for each in value.list_value.values)
        case "struct_value":
            return depth < _MAX_DEPTH and all(is_json(each, depth + 1) for each in value.struct_value.fields.values())
    return True


def parsed_output(content: bytes) -> Value | None:
    """Return the output of a program as a value; None if it is not valid JSON."""
    try:
        value = json_format.Parse(content, Value())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        return None
    return value if is_json(value) else None


def is_json_text(content: bytes) -> bool:
    """Return whether bytes are JSON text."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _lower(limit: float, own: float) -> float:
    return min(filter(None, (limit, own)), default=0.0)
