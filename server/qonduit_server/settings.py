# SPDX-License-Identifier: Apache-2.0
"""One frozen settings object, made once by the command line from options and QONDUIT_* variables, and passed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from qonduit_server.process.memory import usable_memory

_LAST_PORT: Final = 65535


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """Declare a setting.

    Args:
        default: its value, or a function that finds it.
        help: what it is for.
        rules: `least` (the smallest value), `check` (raises ValueError for a value that cannot be used, and says why),
            `formerly` (a deprecated name that still works in this release).
    """
    metadata = {"help": help, **rules}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _cores() -> int:
    return os.cpu_count() or 1


def _cache_folder() -> str:
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qonduit" / "translations")


def _half_of_memory() -> int:
    return usable_memory() // 2


def _most_of_memory() -> int:
    return usable_memory() // 4 * 3


def _check_address(address: str) -> None:
    """Refuse what gRPC would make another port of: it takes only the lowest 16 bits of a number."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > _LAST_PORT:
        raise ValueError(f"must be HOST:PORT with a port from 0 (a free one) to {_LAST_PORT}, got {address!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may choose. Sizes are bytes, times are seconds."""

    listen: str = _setting("127.0.0.1:50051", "HOST:PORT to serve on; port 0 takes a free one.", check=_check_address)
    database: str = _setting("sqlite:///qonduit.sqlite3", "sqlite:///FILE or postgresql://USER@HOST/NAME.")

    providers: tuple[str, ...] = _setting((), "Providers to offer: NAME,NAME; all that are registered if empty.")
    provider_python: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}), "Another Python for a provider's processes: NAME=PATH,NAME=PATH."
    )
    preload: tuple[str, ...] = _setting((), "Providers whose SDK is loaded ahead, in this order; all if empty.")

    enable_python_source: tuple[str, ...] = _setting(
        (),
        "Languages whose Python source is run, in a sandbox: QISKIT,CIRQ,BRAKET,QRISP,PYTHON; none if empty.",
        formerly="python_source",
    )
    language_python: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}), "Another Python for a language's source: NAME=PATH,NAME=PATH."
    )

    translation_cache: str = _setting(
        _cache_folder, "A folder for programs that were costly to read, shared by all workers."
    )
    translation_cache_bytes: int = _setting(
        256 * 1024**2, "How large that folder may grow; 0: nothing is kept.", least=0
    )

    executor: str = _setting("local", "The executor that runs tasks: local, or one that a package registers.")
    workers: int = _setting(_cores, "Tasks that run at once; default: one a core.", least=1)
    max_attempts: int = _setting(3, "How often a job is started when its worker or its server dies.", least=1)
    max_job_seconds: float = _setting(3600.0, "Time one job may run.", least=0.001)
    max_read_seconds: float = _setting(20.0, "Time reading one program may take.", least=0.001)
    max_task_memory_bytes: int = _setting(
        _half_of_memory,
        "Memory one task may use, at most max_memory_bytes; default: half of the machine's.",
        least=1,
    )
    max_memory_bytes: int = _setting(
        _most_of_memory, "Memory all tasks may use together; default: three quarters of the machine's.", least=1
    )
    lease_seconds: float = _setting(30.0, "How long the jobs of a silent server stay its own.", least=0.1)
    drain_seconds: float = _setting(30.0, "Time running jobs get to end when the server stops.", least=0)

    max_request_bytes: int = _setting(16 * 1024**2, "The largest request.", least=1)
    max_program_bytes: int = _setting(1024**2, "The largest program.", least=1)
    max_programs: int = _setting(500, "The most programs of a deployment.", least=1)
    max_shots: int = _setting(10_000_000, "The most shots of a job; a device may allow fewer.", least=1)
    max_queued_jobs: int = _setting(100_000, "The most jobs that may wait.", least=1)
    max_result_bytes: int = _setting(64 * 1024**2, "The most bytes of one program's result.", least=1)
    max_streams: int = _setting(20_000, "The most streams that may be open at once.", least=1)
    stream_send_timeout_seconds: float = _setting(
        10.0,
        "Time a client may take to read an event; six times as long for a response.",
        least=0.1,
        formerly="slow_reader_seconds",
    )
    request_receive_timeout_seconds: float = _setting(
        120.0, "Time a request may take to arrive.", least=0.1, formerly="slow_request_seconds"
    )
    retention_days: float = _setting(0.0, "Days after which ended jobs are deleted; 0: never.", least=0)

    rpc_threads: int = _setting(24, "Threads that answer unary calls.", least=2)
    reflection: Literal["on", "off"] = _setting("on", "Whether clients may ask the server for its contract.")
    log_format: Literal["auto", "json", "console"] = _setting("auto", "auto is console on a terminal, else json.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "What is less important is not logged.")

    def __post_init__(self) -> None:
        # A task that may use more than all of them together could never run beside others, nor be promised its memory.
        object.__setattr__(self, "max_task_memory_bytes", min(self.max_task_memory_bytes, self.max_memory_bytes))
