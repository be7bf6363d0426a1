# SPDX-License-Identifier: Apache-2.0
"""The owners of jobs and deployments, and the scope of a call: the owners whose objects it may use.

An owner is a string: the name of a user, or "projects/NAME" for a project. Objects of other owners do not exist for a
call. The user who created an object stands apart, in its column `principal`, unless it is the owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job

#: One owner, several owners, or None for the objects of all owners.
Scope: TypeAlias = str | frozenset[str] | None
#: Raises an error if a caller may not change the objects of an owner, which it can read.
CheckChange: TypeAlias = Callable[[str], None]

_PROJECT: Final = "projects/"


def owner_of_project(project: str) -> str:
    """Return the owner of the objects of a project."""
    return _PROJECT + project


def owner_for(user: str, project: str) -> str:
    """Return the owner of an object that a user creates: its project, or the user if the project is empty."""
    return owner_of_project(project) if project else user


def project_of(owner: str) -> str:
    """Return the project of an owner; empty for a user."""
    return owner.removeprefix(_PROJECT) if owner.startswith(_PROJECT) else ""


def is_project(owner: str) -> bool:
    """Return whether an owner is a project. The name of a user never begins like one."""
    return owner.startswith(_PROJECT)


def permit_all(owner: str) -> None:
    """Permit a change of the objects of any owner."""


def including(scope: Scope, owner: str) -> Scope:
    """Return a scope with one more owner."""
    if scope is None:
        return None
    return (frozenset((scope,)) if isinstance(scope, str) else scope) | {owner}


def contains(scope: Scope, owner: str) -> bool:
    """Return whether a scope contains the objects of an owner."""
    return scope is None or (scope == owner if isinstance(scope, str) else owner in scope)


def owner_of(job: Job) -> str:
    """Return the owner of a job."""
    return owner_for(job.executed_by, job.project)


@lru_cache(maxsize=4096)
def cache_scope(owner: str) -> str:
    """Return the text by which workers keep the programs of an owner apart, without knowing the owner."""
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Visibility:
    """The objects that a list, or a change of all matching objects, concerns.

    Attributes:
        caller: the caller, whose objects are concerned.
        others: further owners whose objects are concerned, such as its projects.
        sees_all: whether a filter that names the owner selects from the objects of all owners.
    """

    caller: str
    others: frozenset[str] = frozenset()
    sees_all: bool = False

    @staticmethod
    def of(caller: Visibility | str) -> Visibility:
        """Return the visibility of a caller; a name stands for a caller without other owners."""
        return Visibility(caller) if isinstance(caller, str) else caller

    @property
    def owners(self) -> frozenset[str]:
        """The owners, unless a filter selects from all."""
        return self.others | {self.caller}
