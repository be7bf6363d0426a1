# SPDX-License-Identifier: Apache-2.0
"""Bound the number of values of a label, so that no caller can make the number of time series grow without limit."""

from __future__ import annotations

import threading
from typing import Final

#: The value of the label for all values beyond the limit.
OTHER: Final = "other"


class BoundedLabels:
    """The first values of a label keep their names; further ones become `other`. Thread-safe.

    Args:
        most: the maximum number of values beside `other`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def of(self, value: str) -> str:
        """Return the label for a value."""
        if (known := self._known.get(value)) is not None:
            return known
        with self._lock:
            if value not in self._known and len(self._known) < self._most:
                self._known[value] = value
            return self._known.get(value, OTHER)
