# SPDX-License-Identifier: Apache-2.0
"""The program `qonduit worker`: a worker machine with the operator's settings, and when it ends by itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import structlog

from qonduit_client.distribution import pip_install
from qonduit_server import logs
from qonduit_server.errors import StartError
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.executor_settings import executor_options
from qonduit_server.setting_values import adoptable, changes
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit_server.execution.celery.machine_program import MachineProgram
    from qonduit_server.process.standard_streams import StandardStreams

_log = structlog.get_logger("qonduit.machine")
#: The settings that a running machine adopts.
_ADOPTABLE: Final = frozenset({"broker", "drain_seconds", "log_level", "workers"})
#: The time to hand back tasks after the drain, before the end of an allocation kills the machine.
_HAND_BACK_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """When a machine ends by itself.

    Attributes:
        idle_seconds: the time without a task after which it ends; None: it does not.
        end_time: the Unix time at which it must have ended; None: it need not.
    """

    idle_seconds: float | None = None
    end_time: float | None = None

    def drain_by(self) -> float:
        """Return when the drain must have ended, as a time of `time.monotonic`."""
        left = math.inf if self.end_time is None else self.end_time - time.time()
        return time.monotonic() + left - _HAND_BACK_SECONDS


@dataclass
class WorkerProgram:
    """A running worker machine."""

    settings: Settings
    _program: MachineProgram
    _stderr: StderrLog
    _drain_by: float

    @property
    def id(self) -> str:
        """The id of this start of the machine."""
        return self._program.id

    @property
    def drain_seconds(self) -> float:
        """The time for running tasks to end when the machine stops."""
        return self.settings.drain_seconds

    def reload(self, wanted: Settings) -> None:
        """Adopt the changes that a running machine can adopt, and log the others.

        Raises:
            StartError: a change is invalid; no setting has changed.
        """
        changed = changes(self.settings, wanted)
        adopted = adoptable(self.settings, {name: changed[name] for name in _ADOPTABLE & changed.keys()})
        if "broker" in adopted:
            self._program.use_broker(wanted.broker)
        if "workers" in adopted:
            self._program.resize(wanted.workers)
        self.settings = replace(self.settings, **adopted)
        logs.configuration_reloaded(self.settings.log_level, adopted, changed)

    def stop(self, force: threading.Event) -> None:
        """Accept no more tasks, wait for running ones until `force` is set, and hand back the rest."""
        seconds = max(0.0, min(self.settings.drain_seconds, self._drain_by - time.monotonic()))
        _log.info("draining", machine=self.id, seconds=seconds)
        self._program.stop(seconds, force)
        self._stderr.stop()
        _log.info("stopped", machine=self.id)

    def wait_spent(self, idle_seconds: float | None) -> None:
        """Wait until the machine has had no task for a time, or until it must drain."""
        deadline = self._drain_by - self.settings.drain_seconds
        idle = self._program.wait_idle(math.inf if idle_seconds is None else idle_seconds, deadline)
        _log.info("ends", machine=self.id, why=f"no task for {idle_seconds:g} s" if idle else "its end time is near")


def start(
    settings: Settings,
    lifetime: Lifetime = Lifetime(),
    on_end: Callable[[], None] = lambda: None,
    on_fault: Callable[[], None] = lambda: None,
    streams: StandardStreams | None = None,
) -> WorkerProgram:
    """Start a worker machine; it connects to the broker in the background.

    Args:
        settings: the operator's settings.
        lifetime: when it ends by itself.
        on_end: called, in a thread of its own, when that time has come; the caller should then stop it.
        on_fault: called when the machine can receive no more tasks; the caller should then restart it.
        streams: the redirected standard streams of this process, if any.

    Raises:
        StartError: a setting cannot be used, Celery is not installed, or the machine would have to end at once.
    """
    drain_by = lifetime.drain_by()
    if (left := drain_by - time.monotonic()) <= settings.drain_seconds:
        raise StartError(
            f"the machine must end in {left + _HAND_BACK_SECONDS:.0f} s, and to end takes up to "
            f"{settings.drain_seconds + _HAND_BACK_SECONDS:g} s: set a later --end-time, or shorten drain_seconds"
        )
    if not find_spec("celery"):
        raise StartError(f"Celery is not installed: {pip_install('celery')}")
    from qonduit_server.execution.celery.machine_program import MachineProgram

    stderr = StderrLog()
    program = MachineProgram(executor_options(settings, stderr=stderr), on_fault=on_fault)
    logs.configure(settings.log_format, settings.log_level, streams)
    stderr.start()
    program.start(settings.preload)
    running = WorkerProgram(settings, program, stderr, drain_by)

    def watch() -> None:
        running.wait_spent(lifetime.idle_seconds)
        on_end()

    if lifetime != Lifetime():
        threading.Thread(target=watch, name="machine-lifetime", daemon=True).start()
    return running
