# SPDX-License-Identifier: Apache-2.0
"""Commands of operators for the shares of the workers: share list, share set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, write_rows
from qonduit_client.cli.session import Session, session, shared_options

if TYPE_CHECKING:
    from qonduit.v1.system_service_pb2 import Share


@click.group()
def share() -> None:
    """List and set the shares of users in the workers of a provider."""


@share.command("list")
@click.argument("provider", required=False, default="")
@shared_options()
def list_shares(provider: str) -> int:
    """List who waits, who runs jobs, and who has used more than the others: of PROVIDER or of all.

    The members of a project follow it; their weights and leads are those among its members.
    """
    here = session()
    with here.client() as client:
        _write(here, client.shares(provider))
    return OK


@share.command("set")
@click.argument("provider")
@click.argument("owner")
@click.argument("weight", type=click.FloatRange(0.01, 100))
@shared_options()
def set_share(provider: str, owner: str, weight: float) -> int:
    """Set the WEIGHT of OWNER at PROVIDER: with 2, it gets twice the time of a user with 1. For admins."""
    here = session()
    with here.client() as client:
        _write(here, [client.set_share(provider, owner, weight)])
    return OK


def _write(here: Session, found: Iterable[Share]) -> None:
    columns = [
        Column("provider", lambda each: each.provider, "PROVIDER"),
        Column(
            "owner", lambda each: each.owner, "USER", lambda each: f"  {each.member}" if each.member else each.owner
        ),
        Column("weight", lambda each: each.weight, "WEIGHT", lambda each: f"{each.weight:g}", right=True),
        Column("queued_jobs", lambda each: each.queued_jobs, "QUEUED", right=True),
        Column("running_jobs", lambda each: each.running_jobs, "RUNNING", right=True),
        Column(
            "lead_seconds",
            lambda each: each.lead_seconds,
            "LEAD",
            lambda each: f"{each.lead_seconds:.1f} s",
            right=True,
        ),
        Column(
            "mean_seconds",
            lambda each: each.mean_seconds if each.HasField("mean_seconds") else None,
            "MEAN JOB",
            lambda each: f"{each.mean_seconds:.3g} s" if each.HasField("mean_seconds") else "",
            right=True,
        ),
        Column("member", lambda each: each.member),
    ]
    write_rows(here, columns, found, line=lambda each: each, empty="no user has used the workers or waits for them")
