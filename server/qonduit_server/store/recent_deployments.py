# SPDX-License-Identifier: Apache-2.0
"""The latest inline deployments by content, so that equal programs of a caller's further jobs are not stored again.

It only proposes deployments: the transaction that uses one checks that it exists and is still inline.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

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
        """Return an equal deployment; None if there is none."""
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
