# SPDX-License-Identifier: Apache-2.0
"""Queries of objects in the scope of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, CursorResult, FromClause, Select, func

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.ownership import Scope


def principal_of(table: FromClause) -> ColumnElement[str]:
    """Return the expression of the user who created an object, whose column is NULL if this is its owner."""
    return func.coalesce(table.c.principal, table.c.caller)


class Owned:
    """A query of objects in a scope.

    A missing object and one of another owner take the same query and the same time.

    Args:
        query: the query without an owner.
        owner: the column with the owner.
    """

    def __init__(self, query: Select[Any], owner: Column[Any]) -> None:
        self._of_all = query
        self._of_some = query.where(among(owner, "owners"))

    def execute(self, connection: Connection, scope: Scope, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute the query."""
        if scope is None:
            return connection.execute(self._of_all, parameters)
        owners = [checked_text("owner", owner) for owner in ((scope,) if isinstance(scope, str) else scope)]
        return connection.execute(self._of_some, {**parameters, "owners": owners})
