# SPDX-License-Identifier: Apache-2.0
"""Deployments: named sets of programs. A program is never changed: an update makes new ones, and jobs keep theirs."""

from __future__ import annotations

from collections.abc import Sequence

from qonduit.v1.deployment_pb2 import Deployment

from qonduit_server.store.database import Database
from qonduit_server.store.paging import Page


def create(db: Database, caller: str, deployment: Deployment, request_id: str = "") -> Deployment:
    """Store a deployment and its programs; output-only fields are ignored.

    Args:
        request_id: if not empty, repeating it with the same deployment returns the one that was made first, as it is now.

    Raises:
        AlreadyExists: the request id was used for another deployment.
    """
    raise NotImplementedError


def get(db: Database, caller: str, deployment_id: int) -> Deployment:
    """Return one deployment with its programs. Raises NotFound."""
    raise NotImplementedError


def list_page(db: Database, caller: str, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Deployment]:
    """Return a page of the caller's deployments, newest first. Filter fields: id, name, deployed_at."""
    raise NotImplementedError


def update(db: Database, caller: str, deployment: Deployment, paths: Sequence[str] = ()) -> Deployment:
    """Change the name, or replace the programs by new ones.

    Args:
        paths: "name", "programs", or both; empty means those that are set in `deployment`.

    Raises:
        NotFound: no such deployment.
        InvalidArgument: a path that cannot be changed, or no program left.
    """
    raise NotImplementedError


def delete(db: Database, caller: str, deployment_id: int) -> None:
    """Delete a deployment. Raises NotFound, and FailedPrecondition when jobs refer to it."""
    raise NotImplementedError
