# SPDX-License-Identifier: Apache-2.0
"""How the server logs: structlog to standard error, one line a call and one a job transition, as JSON or for people.

Lines carry names, numbers and ids. A program or a credential never gets here; should one slip in under its usual name,
its value is left out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

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
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str, check_circular=False).encode


def configure(
    log_format: Literal["auto", "json", "console"] = "auto",
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Set up logging for this process; also what libraries log by the standard library.

    Args:
        log_format: "auto" is "console" on a terminal, else "json".
        log_level: what is less important is dropped.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    level = _LEVELS[log_level]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_secrets,
    ]
    # Without the values of variables, which may be whole results.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    ending: list[Processor] = [pretty] if console else [structlog.processors.format_exc_info, as_json]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=Lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))


class Lines:
    """Writes rendered lines to standard error. One that cannot be written is lost, and fails nothing else."""

    def __init__(self, *_names: object) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = msg


def without_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Leave out values under names that hold programs or credentials."""
    if not _SECRET.isdisjoint(line):
        for name in _SECRET.intersection(line):
            line[name] = "(left out)"
    return line


def as_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """Render a line as one JSON object, the event first."""
    ordered: dict[str, Any] = {"event": line.pop("event", "")}
    ordered.update(line)
    return _encode(ordered)
