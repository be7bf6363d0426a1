# SPDX-License-Identifier: Apache-2.0
"""Find orphaned chunks: their server stopped after it wrote the chunks and before it recorded the result.

Chunks are written before their result, so chunks without a result may belong to a write in progress. They are orphaned
if they existed before the only server of the database started, or if they have had no result for an hour. A slower
write detects that its chunks were deleted, and restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import bindparam, exists, func, select

from qonduit_server.store.database import Database
from qonduit_server.store.schema import buffers, results

#: Time without a result after which chunks are orphaned.
_AGE_SECONDS: Final = 3600.0
#: Number of results per read.
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
    """Records since when chunks have no result.

    Create it before this server writes chunks, and query it regularly.

    Args:
        db: the store; a SQLite file has only one server.
        clock: a monotonic clock in seconds.
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
        """Return the ids of missing results whose chunks can be deleted. Raises Unavailable."""
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
