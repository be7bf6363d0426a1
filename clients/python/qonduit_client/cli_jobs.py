# SPDX-License-Identifier: Apache-2.0
"""Commands about jobs that do not follow them: jobs, job, cancel, delete."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qonduit_client.cli_session import NUMBER, OK, report, session, shared_options
from qonduit_client.errors import QonduitError
from qonduit_client.tables import table_of


@click.command()
@click.option("--state", metavar="STATE", help="Only in this state: queued, running, succeeded, failed, cancelled ...")
@click.option(
    "--filter", "wanted", default="", metavar="TEXT", help="Only these, as 'deployment_id = 7 AND shots = 1000'."
)
@click.option("--limit", type=NUMBER, default=20, show_default=True, metavar="N", help="How many at most; 0 lists all.")
@shared_options()
def jobs(state: str | None, wanted: str, limit: int) -> int:
    """List jobs, newest first."""
    from qonduit_client.as_json import as_line
    from qonduit_client.job import state_name
    from qonduit_client.telling import device_names, local_time, seconds_between

    here = session()
    if state:
        wanted = " AND ".join(part for part in (f'state = "{state.upper()}"', wanted) if part)
    with here.client() as client:
        found = client.jobs(wanted, limit=limit or None)
        if here.as_json:
            for each in found:
                click.echo(as_line(each))
            return OK
        names = device_names(client.devices(), client.providers())
        rows = [
            (
                str(each.id),
                state_name(each.state),
                f"{each.progress:.0%}",
                names.get(each.executed_on_id, str(each.executed_on_id)),
                str(each.shots),
                local_time(each.created_at),
                f"{seconds_between(each.created_at, each.finished_at):.2f} s" if each.HasField("finished_at") else "",
                each.name,
            )
            for each in found
        ]
    if not rows:
        click.echo("no jobs" if not wanted else f"no jobs with {wanted}")
        return OK
    click.echo(
        table_of(("ID", "STATE", "DONE", "DEVICE", "SHOTS", "CREATED", "TOOK", "NAME"), rows, right={0, 2, 4, 6})
    )
    if limit and len(rows) == limit:
        click.echo(f"(the newest {limit}; --limit lists more)")
    return OK


@click.command()
@click.argument("job_id", type=NUMBER, metavar="JOB")
@shared_options()
def job(job_id: int) -> int:
    """Show one job."""
    from qonduit_client.as_json import as_line
    from qonduit_client.job import state_name
    from qonduit_client.telling import device_names, failure_words, local_time

    here = session()
    with here.client() as client:
        found = client.job(job_id).job()
        if here.as_json:
            click.echo(as_line(found))
            return OK
        names = device_names(client.devices(), client.providers())
    facts = [
        ("job", str(found.id)),
        ("name", found.name),
        ("state", f"{state_name(found.state)}, {found.progress:.0%} done"),
        ("device", names.get(found.executed_on_id, str(found.executed_on_id))),
        ("deployment", str(found.deployment_id)),
        ("shots", str(found.shots)),
        ("seed", str(found.seed) if found.HasField("seed") else ""),
        ("created", local_time(found.created_at)),
        ("started", local_time(found.started_at)),
        ("finished", local_time(found.finished_at)),
        ("attempt", str(found.attempt) if found.attempt > 1 else ""),
        ("events", str(found.last_sequence)),
        ("failure", failure_words(found.failure) if found.HasField("failure") else ""),
    ]
    for run in found.program_runs:
        said = f": {failure_words(run.failure)}" if run.HasField("failure") else ""
        results = f", results {', '.join(map(str, run.result_ids))}" if run.result_ids else ""
        facts.append((f"program {run.index + 1}", f"{state_name(run.state)}{results}{said}"))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        if value and value != "-":
            click.echo(f"{name:<{width}}  {value}")
    return OK


@click.command()
@click.argument("job_ids", type=NUMBER, nargs=-1, required=True, metavar="JOB...")
@shared_options()
def cancel(job_ids: Sequence[int]) -> int:
    """Cancel jobs. One that has ended stays as it is."""
    from qonduit_client.as_json import as_line
    from qonduit_client.job import state_name

    here = session()
    code = OK
    with here.client() as client:
        for job_id in job_ids:
            try:
                found = client.job(job_id).cancel()
            except QonduitError as error:
                code = report(error, here)
                continue
            click.echo(as_line(found) if here.as_json else f"job {job_id}: {state_name(found.state)}")
    return code


@click.command()
@click.argument("job_ids", type=NUMBER, nargs=-1, required=True, metavar="JOB...")
@shared_options()
def delete(job_ids: Sequence[int]) -> int:
    """Delete jobs that have ended, with their events and results."""
    from qonduit_client.as_json import as_line

    here = session()
    code = OK
    with here.client() as client:
        for job_id in job_ids:
            try:
                client.delete_job(job_id)
            except QonduitError as error:
                code = report(error, here)
                continue
            click.echo(as_line({"deleted": job_id}) if here.as_json else f"job {job_id}: deleted")
    return code
