# SPDX-License-Identifier: Apache-2.0
"""The caller of an RPC: its name, which owns the objects that it creates, and its roles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from qonduit_server.errors import CallError
from qonduit_server.store.ownership import is_project


class Role(StrEnum):
    """The permissions of a principal. Each role includes the ones before it (`with_lower_roles`)."""

    USER = "user"  #: use its own jobs, deployments and results
    OPERATOR = "operator"  #: see the server's state, and the objects of all principals
    ADMIN = "admin"  #: change the objects of other principals


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    Args:
        name: the owner of the objects that the principal creates, as in the store.
        roles: the roles of the principal.
        authentication: how it authenticated, for the audit log.
        credential: the id of its token or certificate, for the audit log; never the secret.
    """

    name: str
    roles: frozenset[Role] = frozenset((Role.USER,))
    authentication: str = field(default="none", compare=False)
    credential: str = field(default="", compare=False)


#: The principal of every call on a server without authentication.
ANONYMOUS: Final = Principal("anonymous", frozenset(Role))
#: The principal of a call before authentication, and of a call that needs none.
UNAUTHENTICATED: Final = Principal("", frozenset())

#: Key and value pairs, as in grpcio; keys are lower case, values of "-bin" keys are bytes.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
#: Returns the properties of a connection's peer, lists of bytes: `grpc.ServicerContext.auth_context`.
ReadPeer: TypeAlias = Callable[[], Mapping[str, Any]]
#: Raises a `CallError` if the call is rejected.
Authenticate: TypeAlias = Callable[[Metadata, ReadPeer], Principal]
#: Returns the error of a call that certainly has no valid token. Takes microseconds, and does not wait.
RejectEarly: TypeAlias = Callable[[Metadata], CallError | None]

#: Visible ASCII characters; the store and the log contain the name.
_NAME: Final = re.compile(r"[!-~]{1,128}")


def anonymous(metadata: Metadata, peer: ReadPeer) -> Principal:
    """Return the principal of a server without authentication."""
    return ANONYMOUS


def reject_none(metadata: Metadata) -> CallError | None:
    """Reject no call, on a server without authentication."""
    return None


def is_name(name: object) -> bool:
    """Return whether a principal may have this name: 1 to 128 visible ASCII characters, not the owner of a project."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not is_project(name)


def with_lower_roles(roles: Iterable[Role]) -> frozenset[Role]:
    """Return the roles and those that they include."""
    order = list(Role)
    return frozenset(order[: max((order.index(role) + 1 for role in roles), default=0)])
