# SPDX-License-Identifier: Apache-2.0
"""The buffers of ReadBuffer by name: large results ("results/ID") and large options ("jobs/ID/inputs")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qonduit_server.store.database import Database
from qonduit_server.store.jobs import large_options
from qonduit_server.store.ownership import Scope
from qonduit_server.store.results import buffers


@dataclass(frozen=True)
class StoredBuffer:
    """A readable buffer.

    Attributes:
        size_bytes: its size in bytes.
        chunk_bytes: the size of its chunks in bytes; the last one may be shorter.
        read: returns the chunk of an index, from 0; None if the buffer was deleted.
    """

    size_bytes: int
    chunk_bytes: int
    read: Callable[[int], bytes | None]


def find(db: Database, scope: Scope, name: str) -> StoredBuffer:
    """Return a buffer in the scope. Raises NotFound."""
    if name.startswith("jobs/"):
        option = large_options.find(db, scope, name)
        return StoredBuffer(option.size_bytes, large_options.CHUNK_BYTES, partial(large_options.read, db, option))
    result_id, size = buffers.find(db, scope, name)
    return StoredBuffer(size, buffers.CHUNK_BYTES, partial(buffers.read, db, result_id))
