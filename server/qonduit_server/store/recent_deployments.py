# SPDX-License-Identifier: Apache-2.0
"""The latest inline deployments by content, so that equal programs of a caller's further jobs are not stored again.

It only proposes deployments: the transaction that uses one checks that it exists and is still inline.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import deployments, programs

_MAX_DEPLOYMENTS: Final = 1024
#: Maximum number of programs of a deployment.
_MAX_PROGRAMS: Final = 16


class StoredDeployment(NamedTuple):
    """A deployment and its programs, in order."""

    deployment_id: int
    program_ids: Sequence[int]


class RecentDeployments:
    """Deployments that this process stored, by a hash of their owner and their content. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, StoredDeployment] = OrderedDict()

    def find(self, content: bytes) -> StoredDeployment | None:
        """Return an equal deployment; None without one."""
        with self._lock:
            return self._known.get(content)

    def add(self, content: bytes, stored: StoredDeployment) -> None:
        """Add a deployment that is committed."""
        if len(stored.program_ids) > _MAX_PROGRAMS:
            return
        with self._lock:
            self._known[content] = stored
            self._known.move_to_end(content)
            if len(self._known) > _MAX_DEPLOYMENTS:
                self._known.popitem(last=False)


def content_hash(owner: str, sources: Sequence[bytes], labels: Mapping[str, str]) -> bytes:
    """Return a hash of a deployment's owner, programs and labels."""
    found = hashlib.sha256()
    texts = [part.encode() for label in sorted(labels.items()) for part in label]
    for part in (owner.encode(), b"%d" % len(sources), *sources, *texts):
        found.update(len(part).to_bytes(8))
        found.update(part)
    return found.digest()


def ask_inline_programs(connection: Connection, ids: Iterable[int]) -> Callable[[], dict[int, tuple[str, int, bytes]]]:
    """Ask for owner, deployment and content of programs of inline deployments (queries.py).

    Both are locked until the transaction ends.
    """
    answer = _SELECT_INLINE.ask(connection, {"ids": list(ids)})
    return lambda: {program_id: (*found,) for program_id, *found in answer()}


_SELECT_INLINE: Final = Query(
    select(programs.c.id, deployments.c.caller, programs.c.deployment_id, programs.c.program)
    .join(deployments, deployments.c.id == programs.c.deployment_id)
    .where(among(programs.c.id, "ids"), programs.c.is_current.is_(True), deployments.c.is_inline.is_(True))
    .with_for_update(read=True, key_share=True)
)
