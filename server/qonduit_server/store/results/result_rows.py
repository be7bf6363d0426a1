# SPDX-License-Identifier: Apache-2.0
"""Read results."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select, tuple_

from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import NotFound
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text, is_id
from qonduit_server.store.database import Database
from qonduit_server.store.event_log import require_job
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.schema import jobs, results

_GET: Final = (
    select(results.c.result)
    .join(jobs, jobs.c.id == results.c.job_id)
    .where(results.c.id == bindparam("id"), jobs.c.caller == bindparam("caller"))
)
_SIZES: Final = (
    select(results.c.id, results.c.position, results.c.size)
    .where(
        results.c.job_id == bindparam("job"),
        tuple_(results.c.position, results.c.id) > tuple_(bindparam("position"), bindparam("after")),
    )
    .order_by(results.c.position, results.c.id)
    .limit(bindparam("limit"))
)
_MANY: Final = select(results.c.result).where(among(results.c.id, "ids")).order_by(results.c.position, results.c.id)


def get(db: Database, caller: str, result_id: int) -> Result:
    """Return one result. Raises NotFound."""
    if is_id(result_id):
        with db.read() as connection:
            found = connection.execute(_GET, {"id": result_id, "caller": checked_text("caller", caller)}).scalar()
        if found is not None:
            return Result.FromString(found)
    raise NotFound("result", result_id)


def list_page(db: Database, caller: str, job_id: int, page_size: int = 0, page_token: str = "") -> Page[Result]:
    """Return a page of a job's results in the order of its programs; at most 3 MiB. Raises NotFound."""
    require_job(db, caller, job_id)
    cursor = Cursor(("results", caller, job_id), page_size, page_token, keys=2)
    position, after = cursor.after or (-1, 0)
    with db.read() as connection:
        # Sizes first, so that results beyond the page are not read from the disk.
        sizes = connection.execute(
            _SIZES, {"job": job_id, "position": position, "after": after, "limit": cursor.size + 1}
        ).all()
        kept, token = cursor.cut(list(sizes), lambda row: (row.position, row.id), lambda row: int(row.size) + 8)
        if not kept:
            return Page([])
        found = connection.execute(_MANY, {"ids": [row.id for row in kept]}).scalars()
        return Page([Result.FromString(result) for result in found], token)
