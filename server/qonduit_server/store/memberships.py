# SPDX-License-Identifier: Apache-2.0
"""The projects of a caller, read for each call through a short cache.

A change on this server is visible at once: it empties the cache. A change on another server is visible within
`CACHE_SECONDS`, because an entry is not used longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from qonduit_server.errors import NotFound, PermissionDenied
from qonduit_server.store import projects
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import is_project, owner_of_project, project_of

#: The time for which the projects of a user are cached.
CACHE_SECONDS: Final = 0.5
#: The maximum number of cached users.
_MAX_USERS: Final = 4096


class Memberships:
    """A caller and the roles of its projects.

    Attributes:
        name: the name of the caller.
        readable: the owners whose objects the caller may read: itself and its projects.
        changeable: the owners whose objects the caller may change.
    """

    __slots__ = ("_roles", "changeable", "name", "readable")

    def __init__(self, name: str, roles: Mapping[str, int] = MappingProxyType({})) -> None:
        self.name = name
        self._roles = roles
        self.readable = frozenset({name, *map(owner_of_project, roles)})
        self.changeable = frozenset(
            {name, *(owner_of_project(project) for project, role in roles.items() if role >= projects.MEMBER)}
        )

    def check_change(self, owner: str) -> None:
        """Check that the caller may create and change objects of an owner.

        Raises:
            NotFound: the owner is a project of which the caller is not a member.
            PermissionDenied: the caller is a viewer of the project.
        """
        if owner in self.changeable or not is_project(owner):
            return
        project = project_of(owner)
        role = self._roles.get(project)
        if role is None:
            raise NotFound("project", project)
        raise PermissionDenied(
            f"{self.name} is {projects.role_name(role)} of project {project}; its jobs and deployments are changed by "
            "members and owners: ask an owner"
        )


#: Before authentication, and for calls that concern no owner.
NO_ONE: Final = Memberships("")


class MembershipCache:
    """The memberships of callers of a database.

    Args:
        db: the database.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Memberships]] = {}
        self._changes = 0

    def get(self, caller: str) -> Memberships:
        """Return the memberships of a caller. Raises Unavailable if they must be read and cannot."""
        known = self._known.get(caller)
        now = self._clock()
        if known is not None and now < known[0]:
            return known[1]
        changes = self._changes
        found = Memberships(caller, projects.roles_of(self._db, caller))
        with self._lock:
            # Roles that were read during a change may be outdated: they are returned and not cached.
            if changes == self._changes:
                if len(self._known) >= _MAX_USERS:
                    self._known.clear()
                self._known[caller] = (now + CACHE_SECONDS, found)
        return found

    def changed(self) -> None:
        """Forget all memberships, after a change of this server is committed."""
        with self._lock:
            self._changes += 1
            self._known.clear()
