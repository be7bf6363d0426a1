# SPDX-License-Identifier: Apache-2.0
"""Authentication: the one place that turns a call's metadata into a principal, which owns what the call creates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias


class Role(StrEnum):
    """What a principal may do."""

    USER = "user"  #: use its own jobs, deployments and results
    OPERATOR = "operator"  #: see the server's state and all jobs
    ADMIN = "admin"  #: change what belongs to others


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    Args:
        name: owns what the principal creates; the store keeps it.
        roles: what the principal may do.
    """

    name: str
    roles: frozenset[Role] = frozenset((Role.USER,))


#: Every caller of a server without authentication.
ANONYMOUS: Final = Principal("anonymous", frozenset(Role))
#: The principal of a call whose caller is not known yet.
UNAUTHENTICATED: Final = Principal("", frozenset())

#: Key and value pairs, as grpcio gives them; keys are lower case, values of "-bin" keys are bytes.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
#: Raises a `CallError` for a caller that may not call at all.
Authenticate: TypeAlias = Callable[[Metadata], Principal]


def anonymous(metadata: Metadata) -> Principal:
    """Return the one principal of a server without authentication."""
    return ANONYMOUS
