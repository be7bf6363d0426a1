# SPDX-License-Identifier: Apache-2.0
"""Logging: structlog writes to standard error one line per call and per job transition, as JSON or for a console.

Lines contain names, numbers and ids. The server logs no program and no credential; as a second barrier, values under
their usual names are replaced. A server process passes its lines to a `LineWriter`; others write them at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

if TYPE_CHECKING:
    from qonduit_server.process.standard_streams import StandardStreams

Level = Literal["debug", "info", "warning", "error"]
_SECRET: Final = frozenset(
    {
        "authorization",
        "binary",
        "circuit",
        "credential",
        "deployment",
        "password",
        "program",
        "quantum_circuit",
        "quantum_circuit_binary",
        "request",
        "secret",
        "text",
        "token",
    }
)
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: The lowest level that is logged.
_level = logging.INFO
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str, check_circular=False).encode


def configure(
    log_format: Literal["auto", "json", "console"] = "auto",
    log_level: Level = "info",
    streams: StandardStreams | None = None,
    export: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Configure logging for this process, including records of the standard library's logging.

    Args:
        log_format: "auto" is "console" on a terminal, else "json".
        log_level: the lowest level that is logged.
        streams: the redirected standard streams of this process: lines go to its log, and output to standard error is
            logged line by line. None: lines are written to standard error at once.
        export: called with each line as well; it must not change the line.
    """
    terminal = sys.stderr.isatty() if streams is None else streams.terminal
    console = log_format == "console" or (log_format == "auto" and terminal)
    shared: list[Processor] = [
        _filter_by_level,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_secrets,
    ]
    if export is not None:
        shared.append(partial(_exported, export))
    # Tracebacks omit the values of variables, which may be whole results.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    ending: list[Processor] = [pretty] if console else [structlog.processors.format_exc_info, as_json]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=Lines,
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(log_level)
    if streams is not None:
        Lines.sink = streams.log.write
        streams.log.report = partial(_dropped, [*shared, *ending])
        log = structlog.get_logger("qonduit.stderr")
        streams.read_stderr(lambda line: log.warning("standard error", line=line))


def set_level(log_level: Level) -> None:
    """Set the lowest level that is logged, also for loggers that exist."""
    global _level
    _level = _LEVELS[log_level]
    logging.getLogger().setLevel(max(_level, logging.WARNING))


def configuration_reloaded(log_level: Level, adopted: Iterable[str], changed: Iterable[str]) -> None:
    """Log which changed settings were adopted, at every level: an operator waits for this line. Then set the level."""
    set_level("info")
    rest = sorted(set(changed).difference(adopted))
    log = structlog.get_logger("qonduit.settings")
    (log.warning if rest else log.info)("configuration reloaded", changed=sorted(adopted), needs_restart=rest)
    set_level(log_level)


def _filter_by_level(_logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    # Not in the class of the loggers: each is cached at its first use.
    if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < _level:
        raise structlog.DropEvent
    return line


def _to_standard_error(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


class Lines:
    """Writes rendered lines. A line that cannot be written is dropped without an error."""

    #: The function that writes a line.
    sink: ClassVar[Callable[[str], None]] = staticmethod(_to_standard_error)

    def __init__(self, *_names: object) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write one line."""
        Lines.sink(line)

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """Writes records of the standard library's logging like all other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        Lines.sink(self.format(record))


def _dropped(processors: list[Processor], count: int) -> str:
    """Render the line that reports dropped lines: standard error was not read fast enough."""
    line: Any = {"event": "log lines dropped", "count": count}
    for processor in processors:
        line = processor(None, "warning", line)
    return str(line)


def _exported(
    export: Callable[[Mapping[str, Any]], None], _logger: WrappedLogger, _method: str, line: EventDict
) -> EventDict:
    export(line)
    return line


def without_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace values under names that hold programs or credentials."""
    if not _SECRET.isdisjoint(line):
        for name in _SECRET.intersection(line):
            line[name] = "(left out)"
    return line


def as_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """Render a line as one JSON object, the event first."""
    ordered: dict[str, Any] = {"event": line.pop("event", "")}
    ordered.update(line)
    return _encode(ordered)
