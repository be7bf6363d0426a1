# SPDX-License-Identifier: Apache-2.0
"""The scope of a call: the owner whose objects it may use. Objects of other owners do not exist for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, CursorResult, Select, bindparam

from qonduit_server.store.column_limits import checked_text

#: An owner's name; None for the objects of all owners.
Scope: TypeAlias = str | None


class Owned:
    """A query of objects in a scope.

    A missing object and one of another owner take the same query and the same time.

    Args:
        query: the query without an owner.
        owner: the column with the owner's name.
    """

    def __init__(self, query: Select[Any], owner: Column[Any]) -> None:
        self._of_all = query
        self._of_one = query.where(owner == bindparam("caller"))

    def execute(self, connection: Connection, scope: Scope, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute the query."""
        if scope is None:
            return connection.execute(self._of_all, parameters)
        return connection.execute(self._of_one, {**parameters, "caller": checked_text("caller", scope)})
