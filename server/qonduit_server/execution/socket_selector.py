# SPDX-License-Identifier: Apache-2.0
"""The selector of the pool's thread: watches all sockets of the pool."""

from __future__ import annotations

import contextlib
import os
import selectors
from typing import Generic, TypeVar

from qonduit_server.execution.frame_channel import Channel

O = TypeVar("O")  # noqa: E741


class SocketSelector(Generic[O]):
    """Channels and their owners. `wake` is thread-safe, `wait` needs no lock, and the pool locks all other methods."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._owners: dict[Channel, O] = {}
        self._dirty: set[Channel] = set()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)

    def add(self, channel: Channel, owner: O) -> None:
        """Watch a channel, from the next `settle` on."""
        self._owners[channel] = owner
        self._dirty.add(channel)

    def drop(self, channel: Channel) -> None:
        """Stop watching a channel. Call it in the waiting thread, before the channel is closed."""
        if self._owners.pop(channel, None) is not None and channel.sock in self._selector.get_map():
            self._selector.unregister(channel.sock)

    def sent(self, channel: Channel) -> None:
        """Update a channel after a send: if its socket is full, watch it for writability."""
        if channel.full:
            self._dirty.add(channel)

    @property
    def unsettled(self) -> bool:
        """Whether the waiting thread must `settle` changes."""
        return bool(self._dirty)

    def settle(self) -> None:
        """Apply the changes of `add` and `sent`."""
        for channel in self._dirty:
            if channel in self._owners:
                mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.full else 0)
                if channel.sock in self._selector.get_map():
                    self._selector.modify(channel.sock, mask, channel)
                else:
                    self._selector.register(channel.sock, mask, channel)
        self._dirty.clear()

    def wait(self, seconds: float | None) -> list[Channel]:
        """Sleep until a socket is readable, a full socket is writable, or `wake`; return the readable channels."""
        readable: list[Channel] = []
        for key, mask in self._selector.select(seconds):
            channel = key.data
            if channel is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_in, 4096)
            elif mask & selectors.EVENT_WRITE:
                self._dirty.add(channel)
                if mask & selectors.EVENT_READ:
                    readable.append(channel)
            else:
                readable.append(channel)
        return readable

    def owner(self, channel: Channel) -> O | None:
        """Return the owner of a channel; None if it was dropped."""
        return self._owners.get(channel)

    def flush(self) -> None:
        """Send the waiting data of writable channels."""
        for channel in self._dirty:
            if channel in self._owners:
                channel.flush()

    def wake(self) -> None:
        """End the current or next `wait` at once."""
        with contextlib.suppress(OSError):  # full: a wake-up is pending; closed: no thread waits
            os.write(self._wake_out, b"w")

    def close(self) -> None:
        """Close the selector and its pipe; the owners close the channels."""
        self._selector.close()
        os.close(self._wake_in)
        wake_out, self._wake_out = self._wake_out, -1
        os.close(wake_out)
