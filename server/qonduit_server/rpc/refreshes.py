# SPDX-License-Identifier: Apache-2.0
"""Run one refresh of a provider at a time. Calls that arrive meanwhile share the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.errors import CallError, ResourceExhausted

#: The maximum number of calls that wait for the next refresh of a provider: each holds a thread.
MOST_WAITING: Final = 8


@dataclass
class _Provider:
    """The running refresh holds `running`; `following` is the one after it, and `waiting` the number of its calls."""

    running: threading.Lock = field(default_factory=threading.Lock)
    following: Future[None] | None = None
    waiting: int = 0


class Refreshes:
    """Shares refreshes among calls. Thread-safe.

    A call never gets the outcome of a refresh that had begun before it arrived: that one may have read older files.

    Args:
        refresh: refreshes a provider, by its name; with a credential, and its id if it is stored, the devices of
            an account at its vendor.
    """

    def __init__(self, refresh: Callable[[str, str, int], object]) -> None:
        self._refresh = refresh
        self._lock = threading.Lock()
        #: By name and credential, while a call uses it.
        self._providers: dict[tuple[str, str, int], _Provider] = {}

    def refresh(self, name: str, credential: str = "", credential_id: int = 0) -> None:
        """Refresh a provider, or wait for a refresh that begins after this call. Its error is raised in every call.

        Raises:
            ResourceExhausted: too many calls wait.
        """
        key = (name, credential, credential_id)
        with self._lock:
            provider = self._providers.setdefault(key, _Provider())
            if provider.waiting >= MOST_WAITING:
                raise ResourceExhausted(
                    f"{MOST_WAITING} calls wait for a refresh of provider {name}; retry later", subject=name
                )
            shared = provider.following
            first = shared is None
            if shared is None:
                shared = provider.following = Future()
            provider.waiting += 1
        if first:
            self._run(key, provider, shared)
            with self._lock:
                if provider.following is None and self._providers.get(key) is provider:
                    del self._providers[key]
        shared.result()

    def _run(self, key: tuple[str, str, int], provider: _Provider, shared: Future[None]) -> None:
        with provider.running:
            with self._lock:
                provider.following, provider.waiting = None, 0
            try:
                self._refresh(*key)
                shared.set_result(None)
            except CallError as error:
                shared.set_exception(error)
            finally:
                if not shared.done():  # a fault, raised here
                    shared.cancel()
