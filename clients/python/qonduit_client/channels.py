# SPDX-License-Identifier: Apache-2.0
"""The connection pool of a client: it opens another connection before a server or proxy queues calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

Channel = TypeVar("Channel")

#: Calls and streams per connection. A Qonduit server allows 1,000, proxies often 100 or 128. gRPC queues further calls
#: until another call ends, and a watch may last for days.
CALLS_PER_CHANNEL: Final = 100


class Channels(Generic[Channel]):
    """Channels to one server, each with its own connection. Thread-safe.

    Args:
        connect: opens a channel.
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
            ValueError: the channels are closed.
        """
        with self._lock:
            if self._closed:
                raise ValueError("the channels are closed")
            channel = next((each for each, calls in self._calls.items() if calls < CALLS_PER_CHANNEL), None)
            if channel is None:
                channel = self._connect()
            self._calls[channel] = self._calls.get(channel, 0) + 1
        try:
            yield channel
        finally:
            with self._lock:
                self._calls[channel] -= 1

    def close(self) -> list[Channel]:
        """Stop lending channels; return the open ones for the caller to close."""
        with self._lock:
            self._closed = True
            return list(self._calls)
