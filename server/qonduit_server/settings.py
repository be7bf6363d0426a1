# SPDX-License-Identifier: Apache-2.0
"""One frozen settings object, read once at start from QONDUIT_* variables and the command line; values are passed down."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Settings(BaseSettings):
    """What an operator may choose. Every field can be set as QONDUIT_<NAME>; lists and maps are given as JSON."""

    model_config = SettingsConfigDict(env_prefix="QONDUIT_", frozen=True, extra="forbid")

    listen: str = Field("127.0.0.1:50051", description="HOST:PORT to serve on; port 0 takes a free one.")
    database: str = Field("sqlite:///qonduit.sqlite3", description="SQLAlchemy URL: sqlite:///FILE or postgresql://...")

    providers: tuple[str, ...] | None = Field(None, description="Providers to offer; default: all that are registered.")
    provider_python: dict[str, str] = Field(
        default_factory=dict, description="Another Python for a provider's workers, by provider name."
    )
    preload: tuple[str, ...] | None = Field(
        None, description="Providers whose SDK is loaded at start, in this order; default: all that are offered."
    )

    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="Tasks that run at once.")
    max_attempts: int = Field(3, ge=1, description="How often a job is started when its worker dies.")
    max_job_seconds: float = Field(3600.0, gt=0, description="Time one job may run.")
    max_task_memory_bytes: int = Field(
        default_factory=lambda: _physical_memory() // 2, gt=0, description="Memory one task may use."
    )
    lease_seconds: float = Field(30.0, gt=0, description="How long a silent server keeps the jobs it runs.")
    drain_seconds: float = Field(30.0, ge=0, description="Time running jobs get to end when the server stops.")

    max_request_bytes: int = Field(16 * 1024**2, gt=0)
    max_program_bytes: int = Field(1024**2, gt=0)
    max_programs: int = Field(500, gt=0)
    max_shots: int = Field(10_000_000, gt=0)
    max_queued_jobs: int = Field(100_000, gt=0)

    rpc_threads: int = Field(24, ge=2, description="Threads that answer unary calls.")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else JSON.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
