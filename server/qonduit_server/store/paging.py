# SPDX-License-Identifier: Apache-2.0
"""Pages of lists: opaque tokens that say where the next page begins, and the filters that lists take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: A page is also ended by its size, so that every client with gRPC's default limit of 4 MiB can read it.
MAX_PAGE_BYTES: Final = 3 * 1024**2


@dataclass(frozen=True)
class Page(Generic[T]):
    """Part of a list. `next_page_token` is empty on the last page."""

    items: list[T]
    next_page_token: str = ""
