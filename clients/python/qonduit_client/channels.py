# SPDX-License-Identifier: Apache-2.0
"""The connections of one client: a further one is opened before a server or a proxy would keep calls waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

Channel = TypeVar("Channel")

#: Calls and streams of one connection. A Qonduit server takes 1,000, proxies often 100 or 128; what is above that waits
#: in gRPC until another call ends, and a watch may last for days.
CALLS_OF_ONE: Final = 100


class Channels(Generic[Channel]):
    """Channels to one server, each with a connection of its own. Several threads may use them.

    Args:
        connect: makes a channel.
    """

    def __init__(self, connect: Callable[[], Channel]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._calls: dict[Channel, int] = {}
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[Channel]:
        """Lend a channel for one call.

        Raises:
            ValueError: they were closed.
        """
        with self._lock:
            if self._closed:
                raise ValueError("the channels were closed")
            channel = next((each for each, calls in self._calls.items() if calls < CALLS_OF_ONE), None)
            if channel is None:
                channel = self._connect()
            self._calls[channel] = self._calls.get(channel, 0) + 1
        try:
            yield channel
        finally:
            with self._lock:
                self._calls[channel] -= 1

    def close(self) -> list[Channel]:
        """Lend no more channels; return those that are to be closed."""
        with self._lock:
            self._closed = True
            return list(self._calls)
