# SPDX-License-Identifier: Apache-2.0
"""The program `qonduit worker`: a worker machine with the operator's settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from qonduit_client.distribution import pip_install
from qonduit_server.errors import StartError
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.executor_settings import executor_options
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit_server.execution.celery.machine_program import MachineProgram
    from qonduit_server.process.standard_streams import StandardStreams


@dataclass(frozen=True)
class WorkerProgram:
    """A running worker machine."""

    id: str
    _program: MachineProgram
    _stderr: StderrLog

    def stop(self, drain_seconds: float, force: threading.Event) -> None:
        """Accept no more tasks, wait for running ones until `force` is set, and hand back the rest."""
        import structlog

        log = structlog.get_logger("qonduit.machine")
        log.info("draining", machine=self.id, seconds=drain_seconds)
        self._program.stop(drain_seconds, force)
        self._stderr.stop()
        log.info("stopped", machine=self.id)


def start(
    settings: Settings, on_fault: Callable[[], None] = lambda: None, streams: StandardStreams | None = None
) -> WorkerProgram:
    """Start a worker machine; it connects to the broker in the background.

    Args:
        settings: the operator's settings.
        on_fault: called when the machine can receive no more tasks; the caller should then restart it.
        streams: the redirected standard streams of this process, if any.

    Raises:
        StartError: a setting cannot be used, or Celery is not installed.
    """
    if not find_spec("celery"):
        raise StartError(f"Celery is not installed: {pip_install('celery')}")
    from qonduit_server import logs
    from qonduit_server.execution.celery.machine_program import MachineProgram

    stderr = StderrLog()
    program = MachineProgram(executor_options(settings, stderr=stderr), on_fault=on_fault)
    logs.configure(settings.log_format, settings.log_level, streams)
    stderr.start()
    program.start()
    return WorkerProgram(program.id, program, stderr)
