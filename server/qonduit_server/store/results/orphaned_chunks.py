# SPDX-License-Identifier: Apache-2.0
"""Pieces of results that are not there: left by a server that ended between a result's pieces and the result itself.

Pieces are written ahead of their result, so those without one may belong to a write that is under way. Where one server
is alone, what was there before it began is of nobody; anywhere else, what had no result an hour ago and has none now. A
write that takes longer than that notices that its pieces are gone, and begins again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import bindparam, exists, func, select

from qonduit_server.store.database import Database
from qonduit_server.store.schema import buffers, results

#: For so long must pieces be known to have no result.
_AGE_SECONDS: Final = 3600.0
#: How many are looked at in one read.
_PAGE: Final = 500
_HIGHEST: Final = select(func.max(buffers.c.result_id))
_ORPHANS: Final = (
    select(buffers.c.result_id)
    .where(
        buffers.c.result_id > bindparam("after"),
        buffers.c.piece == 0,
        ~exists().where(results.c.id == buffers.c.result_id),
    )
    .order_by(buffers.c.result_id)
    .limit(_PAGE)
)


class OrphanedChunks:
    """Remembers since when pieces have no result.

    Made before this server writes any, and asked again and again.

    Args:
        db: the store. A SQLite file has one server.
        clock: seconds that only grow.
    """

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._seen: dict[int, float] = {}
        self._highest = 0
        if db.kind == "sqlite":
            with db.read() as connection:
                self._highest = connection.execute(_HIGHEST).scalar() or 0

    def without_result(self) -> list[int]:
        """Return the ids of results that are not there and whose pieces can be deleted. Raise Unavailable."""
        now = self._clock()
        self._seen = {result_id: self._seen.get(result_id, now) for result_id in self._find()}
        return [
            result_id
            for result_id, since in self._seen.items()
            if result_id <= self._highest or now - since >= _AGE_SECONDS
        ]

    def _find(self) -> Iterator[int]:
        after = 0
        while True:
            with self._db.read() as connection:
                ids = list(connection.execute(_ORPHANS, {"after": after}).scalars())
            yield from ids
            if len(ids) < _PAGE:
                return
            after = ids[-1]
