# SPDX-License-Identifier: Apache-2.0
"""All sockets of the pool, watched by its one thread."""

from __future__ import annotations

import contextlib
import os
import selectors
from typing import Generic, TypeVar

from qonduit_server.execution.local.worker_processes import Channel

O = TypeVar("O")  # noqa: E741


class SocketSelector(Generic[O]):
    """Channels and who owns them. `wake` is safe to call from any thread; the pool locks all else, but not `wait`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._owners: dict[Channel, O] = {}
        self._dirty: set[Channel] = set()
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._awake, selectors.EVENT_READ)

    def add(self, channel: Channel, owner: O) -> None:
        """Watch a channel from the next `settle` on."""
        self._owners[channel] = owner
        self._dirty.add(channel)

    def drop(self, channel: Channel) -> None:
        """Watch a channel no longer. To be called in the thread that waits, before the channel is closed."""
        if self._owners.pop(channel, None) is not None and channel.sock in self._selector.get_map():
            self._selector.unregister(channel.sock)

    def sent(self, channel: Channel) -> None:
        """Something was sent: if the socket is full, watch for when it takes more."""
        if channel.full:
            self._dirty.add(channel)

    @property
    def unsettled(self) -> bool:
        """Whether the waiting thread must be woken to settle something."""
        return bool(self._dirty)

    def settle(self) -> None:
        """Put into effect what `add` and `sent` asked for."""
        for channel in self._dirty:
            if channel in self._owners:
                mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.full else 0)
                if channel.sock in self._selector.get_map():
                    self._selector.modify(channel.sock, mask, channel)
                else:
                    self._selector.register(channel.sock, mask, channel)
        self._dirty.clear()

    def wait(self, seconds: float | None) -> list[Channel]:
        """Sleep until something arrives, a full socket takes more, or somebody wakes; gives the channels to be read."""
        readable: list[Channel] = []
        for key, mask in self._selector.select(seconds):
            channel = key.data
            if channel is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._awake, 4096)
            elif mask & selectors.EVENT_WRITE:
                self._dirty.add(channel)
                if mask & selectors.EVENT_READ:
                    readable.append(channel)
            else:
                readable.append(channel)
        return readable

    def owner(self, channel: Channel) -> O | None:
        """Whose channel it is, unless it was dropped."""
        return self._owners.get(channel)

    def flush(self) -> None:
        """Send on those channels that can take more."""
        for channel in self._dirty:
            if channel in self._owners:
                channel.flush()

    def wake(self) -> None:
        """End the present or next `wait` at once."""
        with contextlib.suppress(OSError):  # full: it is woken already; closed: nobody waits any more
            os.write(self._waker, b"w")

    def close(self) -> None:
        """Close what belongs to this object; the channels are their owners'."""
        self._selector.close()
        os.close(self._awake)
        waker, self._waker = self._waker, -1
        os.close(waker)
