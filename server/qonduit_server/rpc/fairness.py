# SPDX-License-Identifier: Apache-2.0
"""Fair sharing among connections: a round-robin queue, and a limit that one connection cannot exhaust."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A round-robin queue of connections; the items of one connection are served in order, one per turn.

    Not thread-safe: its owner locks it.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Item]] = OrderedDict()

    def __bool__(self) -> bool:
        """Return whether the queue has an item."""
        return bool(self._queues)

    def __contains__(self, connection: str) -> bool:
        """Return whether the queue has an item of this connection."""
        return connection in self._queues

    def push(self, connection: str, item: Item) -> None:
        """Add an item at the end of its connection's queue."""
        queue = self._queues.get(connection)
        if queue is None:
            self._queues[connection] = deque((item,))
        else:
            queue.append(item)

    def pop(self, allowed: Callable[[str], bool]) -> Item | None:
        """Remove and return the next item; None if no connection with items is allowed.

        Args:
            allowed: whether a connection may be served now; the others keep their turn.
        """
        for connection, queue in self._queues.items():
            if allowed(connection):
                item = queue.popleft()
                if queue:
                    self._queues.move_to_end(connection)
                else:
                    del self._queues[connection]
                return item
        return None


class FairLimit:
    """A limit that connections share: each may use as much as is still free.

    One connection alone gets half of it, two get a third each, and so on (the dynamic threshold that switches use for
    shared buffers). So a new connection finds room at any load. Not thread-safe: its owner locks it.

    Args:
        limit: the sum for all connections; the last addition may exceed it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._used: dict[str, int] = {}

    def used(self, connection: str) -> int:
        """Return the amount that a connection uses."""
        return self._used.get(connection, 0)

    def allows(self, connection: str) -> bool:
        """Return whether a connection may use more."""
        return self._used.get(connection, 0) < self.limit - self.total

    def add(self, connection: str, amount: int = 1) -> None:
        """Add an amount to the use of a connection."""
        self.total += amount
        self._used[connection] = self._used.get(connection, 0) + amount

    def remove(self, connection: str, amount: int = 1) -> None:
        """Subtract an amount from the use of a connection."""
        self.total -= amount
        left = self._used.get(connection, 0) - amount
        if left:
            self._used[connection] = left
        else:
            # Several amounts of 0 (empty requests) may have shared the entry.
            self._used.pop(connection, None)
