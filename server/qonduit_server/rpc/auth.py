# SPDX-License-Identifier: Apache-2.0
"""Authentication: return the principal of a call from its metadata; the principal owns the objects it creates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias


class Role(StrEnum):
    """The permissions of a principal."""

    USER = "user"  #: use its own jobs, deployments and results
    OPERATOR = "operator"  #: see the server's state and all jobs
    ADMIN = "admin"  #: change the objects of other principals


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    Args:
        name: the owner of the objects that the principal creates, as in the store.
        roles: the roles of the principal.
    """

    name: str
    roles: frozenset[Role] = frozenset((Role.USER,))


#: The principal of every call on a server without authentication.
ANONYMOUS: Final = Principal("anonymous", frozenset(Role))
#: The principal of a call before authentication.
UNAUTHENTICATED: Final = Principal("", frozenset())

#: Key and value pairs, as in grpcio; keys are lower case, values of "-bin" keys are bytes.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
#: Raises a `CallError` if the call is rejected.
Authenticate: TypeAlias = Callable[[Metadata], Principal]


def anonymous(metadata: Metadata) -> Principal:
    """Return the principal of a server without authentication."""
    return ANONYMOUS
