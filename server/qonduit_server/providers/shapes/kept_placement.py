# SPDX-License-Identifier: Apache-2.0
"""Reads how a circuit is placed on a processor from where another process left it, or computes and leaves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from qonduit_server.process.file_cache import CacheEntry

P = TypeVar("P")
#: A placement that took less time is computed again: to read a file takes some milliseconds, too.
_COSTLY_SECONDS: Final = 0.1


def kept_placement(
    find_entry: Callable[[], CacheEntry] | None,
    place: Callable[[], P],
    dump: Callable[[P], bytes | None],
    load: Callable[[bytes], P],
) -> P:
    """Return a placement.

    Args:
        find_entry: returns where it is kept; None if it is not.
        place: computes it.
        dump: returns its bytes; None if it has a part that cannot be written.
        load: reads these bytes.
    """
    if find_entry is None:
        return place()
    entry = find_entry()
    data = entry.get()
    if data is not None:
        try:
            return load(data)
        except Exception:  # noqa: BLE001 - SDKs may raise anything, and the placement can be computed instead
            entry.drop()
    began = time.perf_counter()
    found = place()
    if time.perf_counter() - began > _COSTLY_SECONDS and (data := dump(found)) is not None:
        entry.put(data)
    return found
