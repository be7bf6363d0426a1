# SPDX-License-Identifier: Apache-2.0
"""Read all rows of a query, few of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select

from qonduit_server.store.database import Database


def rows_of(db: Database, query: Select[Any], key: str, size: int, **values: Any) -> Iterator[Any]:
    """Yield the rows of a query; no transaction is open between its pages.

    Args:
        db: the database.
        query: returns up to `size` rows after the parameter `after`, in ascending order of `key`.
        key: the name of a column of positive integers.
        size: the number of rows of a page.
        values: further parameters.
    """
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(query, {**values, "after": after}).all()
        yield from rows
        if len(rows) < size:
            return
        after = getattr(rows[-1], key)
