# SPDX-License-Identifier: Apache-2.0
"""The ends of worker processes on machines: a machine counts them, and servers observe the increase."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from qonduit.execution.v1.machine_pb2 import WorkerEndCount
from qonduit_server.execution.executor import LossKind
from qonduit_server.observer import Observer

#: The causes that a server observes; a machine of a later release may have others.
_CAUSES: Final = frozenset({*(kind.value for kind in LossKind), "replaced"})


class WorkerEnds(Observer):
    """Counts the ends of a machine's worker processes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def worker_ended(self, provider: str, cause: str, count: int = 1) -> None:
        """Count ends."""
        with self._lock:
            self._counts[provider, cause] += count

    def counts(self) -> list[WorkerEndCount]:
        """Return all counts since the start of the machine."""
        with self._lock:
            return [
                WorkerEndCount(provider=provider, cause=cause, count=count)
                for (provider, cause), count in self._counts.items()
            ]


class MachineEnds:
    """The counts of one machine, as a server knows them from its messages.

    Args:
        providers: the providers that the server offers; the ends of others are left out.
        observer: receives the ends after the first message: the machine may be older than the server.
    """

    def __init__(self, providers: Iterable[str], observer: Observer) -> None:
        self._providers = frozenset(providers)
        self._observer = observer
        self._known: dict[tuple[str, str], int] | None = None

    def update(self, counts: Iterable[WorkerEndCount]) -> None:
        """Observe what has increased."""
        now = {
            (each.provider, each.cause): each.count
            for each in counts
            if each.provider in self._providers and each.cause in _CAUSES
        }
        if self._known is not None:
            for (provider, cause), count in now.items():
                if (new := count - self._known.get((provider, cause), 0)) > 0:
                    self._observer.worker_ended(provider, cause, new)
        self._known = now
