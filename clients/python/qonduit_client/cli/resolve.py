# SPDX-License-Identifier: Apache-2.0
"""`qonduit resolve`: settle a job of which it is not known whether its vendor has it."""

from __future__ import annotations

from typing import Any

import click

from qonduit_client.cli.completion import ended_jobs
from qonduit_client.cli.credential_options import credential_options, take_credential
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.run import print_jobs
from qonduit_client.cli.session import JOB_ID, session, shared_options


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=ended_jobs)
@click.option("--vendor-id", metavar="ID", help="The vendor's id of the job; a new job continues with it.")
@click.option("--not-submitted", is_flag=True, help="The vendor has no such job; it may then be run again.")
@click.option("--request-id", metavar="UUID", help="Idempotency key: the same id returns the same job.")
@credential_options
@shared_options()
def resolve(job_id: int, vendor_id: str | None, not_submitted: bool, request_id: str | None, **options: Any) -> int:
    """Settle a job that failed with SUBMISSION_UNKNOWN, after you have looked into the vendor's list of jobs.

    With --vendor-id, prints the id of a new job, which adopts the vendor's job and only polls it.
    """
    if not_submitted == bool(vendor_id):
        raise click.UsageError("give exactly one of --vendor-id ID and --not-submitted")
    here = session()
    with here.client() as client:
        take_credential(client, options)
        handle = client.resolve(job_id, vendor_id, request_id=request_id, **options)
        if vendor_id:
            return print_jobs(here, [handle.job() if here.as_json else handle.id])
    click.echo(f"job {job_id} was not submitted; run it again with `qonduit rerun {job_id}`", err=True)
    return OK
