# SPDX-License-Identifier: Apache-2.0
"""`qonduit serve` with a part that can be switched off and on while it runs: it is its own reference.

Two servers differ by several percent although their settings are equal, so they cannot show the cost of a small part.
The variable BENCHMARK_PART names the part, BENCHMARK_SWITCH a file of one byte: 1 switches the part on.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final


def create_switch(path: Path) -> mmap.mmap:
    """Create the file of a switch, which is off; its first byte switches."""
    path.write_bytes(b"\0")
    return _opened(path)


def _opened(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 1)


def _conditional(function: Callable[..., Any], switch: mmap.mmap) -> Callable[..., Any]:
    """Return a method that does nothing while the switch is off."""

    @functools.wraps(function)
    def method(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named) if switch[0] else None

    return method


def switch_metrics(switch: mmap.mmap) -> None:
    """Switch the metrics, and the spans of calls and jobs."""
    from qonduit_server.observer import Observer
    from qonduit_server.telemetry.metrics import Metrics

    for name in (*(each for each in vars(Observer) if not each.startswith("_")), "job_changed"):
        setattr(Metrics, name, _conditional(getattr(Metrics, name), switch))


def switch_audit(switch: mmap.mmap) -> None:
    """Switch the audit log: "changes" or "off"."""
    from qonduit_server.rpc.audited_calls import AuditedCalls

    mode = property(lambda _: "changes" if switch[0] else "off", lambda _, value: None)
    AuditedCalls._mode = mode  # type: ignore[assignment]  # noqa: SLF001


#: What a switch switches, by the name of the part.
_SWITCHED: Final = {"metrics": switch_metrics, "audit": switch_audit}

if __name__ == "__main__":
    from qonduit_server.cli import main

    _SWITCHED[os.environ["BENCHMARK_PART"]](_opened(Path(os.environ["BENCHMARK_SWITCH"])))
    main()
