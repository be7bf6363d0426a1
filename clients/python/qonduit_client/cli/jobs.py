# SPDX-License-Identifier: Apache-2.0
"""Commands that show and change jobs: jobs, job, update, cancel, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from qonduit_client.cli.completion import active_jobs, all_jobs, ended_jobs
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.filter_options import chosen_filter, filter_options
from qonduit_client.cli.input_options import label_option
from qonduit_client.cli.output import Column, act_on, labels_text, moment, remove_each, write_rows
from qonduit_client.cli.schedule_options import schedule_options
from qonduit_client.cli.session import JOB_ID, LIMIT, Session, session, shared_options
from qonduit_client.job_filters import MatchingJobs, both
from qonduit_client.job_labels import OWN

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job, ProgramRun
    from qonduit_client.client import Client


#: How many inputs `qonduit job` shows in its table; --json has all.
_INPUTS = 6
#: The number of waiting jobs whose places `qonduit jobs` shows, each with a call.
_PLACES = 20
#: How many ids `qonduit cancel` and `qonduit delete` show of the jobs that match a filter; --json has more.
_NAMED = 10
_STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")


@click.command()
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="List only jobs in this state.")
@filter_options
@click.option(
    "--order-by",
    default="",
    metavar="FIELD",
    help="created_at, finished_at, name or id; 'name desc' reverses. [default: created_at desc]",
)
@click.option(
    "--limit", type=LIMIT, default=20, show_default=True, metavar="N", help="Maximum number of jobs; 0 lists all."
)
@shared_options()
def jobs(state: str | None, order_by: str, limit: int) -> int:
    """List jobs, newest first."""
    here = session()
    wanted = both(f'state = "{state.upper()}"' if state else "", chosen_filter())
    with here.client() as client:
        found: Iterable[Job] = client.jobs(wanted, order_by=order_by, limit=limit or None)
        if here.output == "table":
            found = list(found)
        empty = (
            "no jobs; create one: qonduit run FILE"
            if not wanted
            else f"no jobs match {wanted}; `qonduit jobs` lists all"
        )
        if isinstance(found, list):
            _add_places(client, found)
        count = write_rows(here, _job_columns(found), found, line=lambda each: each, empty=empty)
    if here.output == "table" and limit and count == limit:
        click.echo(f"({'first' if order_by else 'newest'} {limit}; --limit lists more)")
    return OK


def _add_places(client: Client, found: Sequence[Job]) -> None:
    """Read the places in the queue of the oldest waiting jobs: lists do not contain them."""
    from qonduit_client.errors import NotFound
    from qonduit_client.job import state_name

    waiting = sorted((job for job in found if state_name(job.state) == "QUEUED"), key=lambda job: job.id)
    for job in waiting[:_PLACES]:
        with suppress(NotFound):  # deleted meanwhile
            if (now := client.job(job.id).job()).HasField("queue"):
                job.queue.CopyFrom(now.queue)


def _job_columns(found: Iterable[Job] = ()) -> list[Column]:
    """Return the columns; those of the table that no job needs are left out: users, projects, labels and places."""
    from qonduit_client.formatting import local_time, queue_text, seconds_between
    from qonduit_client.job import state_name

    listed = found if isinstance(found, list) else []
    projects = "PROJECT" if any(job.project for job in listed) else ""
    users = "USER" if len({job.executed_by for job in listed}) > 1 or "owner" in chosen_filter() else ""
    places = "QUEUE" if any(job.HasField("queue") for job in listed) else ""
    labels = "LABELS" if any(_labels_text(job) for job in listed) else ""

    def took(job: Job) -> float | None:
        return seconds_between(job.created_at, job.finished_at) if job.HasField("finished_at") else None

    return [
        Column("job_id", lambda job: job.id, "ID", right=True),
        Column("state", lambda job: state_name(job.state), "STATE"),
        Column("progress", lambda job: job.progress, "DONE", lambda job: f"{job.progress:.0%}", right=True),
        Column("device", device_of, "DEVICE"),
        Column("shots", lambda job: job.shots, "SHOTS", right=True),
        Column("created_at", lambda job: moment(job.created_at), "CREATED", lambda job: local_time(job.created_at)),
        Column("started_at", lambda job: moment(job.started_at)),
        Column("finished_at", lambda job: moment(job.finished_at)),
        Column("seconds", took, "TOOK", lambda job: "" if took(job) is None else f"{took(job):.2f} s", right=True),
        Column("deployment_id", lambda job: job.deployment_id),
        Column("failure", lambda job: job.failure.reason if job.HasField("failure") else None),
        Column("name", lambda job: job.name, "NAME"),
        Column("user", lambda job: job.executed_by, users),
        Column("labels", _labels_text, labels),
        Column("queue", lambda job: queue_text(job.queue) if job.HasField("queue") else "", places),
        Column("project", lambda job: job.project, projects),
    ]


def _labels_text(job: Job) -> str:
    """Return a job's labels, except those by which adapters recognize their jobs."""
    return labels_text({name: value for name, value in job.labels.items() if not name.startswith(OWN)})


def device_of(job: Job) -> str:
    """Return a job's device as "PROVIDER/device"; the device's id if the server is older than that field."""
    return job.device or str(job.executed_on_id)


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=all_jobs)
@shared_options()
def job(job_id: int) -> int:
    """Show one job."""
    from qonduit.v1.job_pb2 import JobType
    from qonduit_client.formatting import failure_text, local_time, queue_text
    from qonduit_client.handle import inputs_of, points_of
    from qonduit_client.input_values import struct_of
    from qonduit_client.job import state_name

    here = session()
    with here.client() as client:
        handle = client.job(job_id)
        found = handle.job()
        inputs = handle.inputs() if found.HasField("inputs_reference") else inputs_of(found)
    if inputs:
        found.inputs.CopyFrom(struct_of(inputs))
    if here.output != "table":
        write_rows(here, _job_columns(), [found], line=lambda each: each)
        return OK
    facts = [
        ("job", str(found.id)),
        ("name", found.name),
        ("project", found.project),
        ("state", f"{state_name(found.state)}, {found.progress:.0%} done"),
        ("device", device_of(found)),
        ("chosen", _choice_text(found)),
        ("method", found.simulation.method),
        ("deployment", str(found.deployment_id)),
        ("type", JobType.Name(found.type).removeprefix("JOB_TYPE_")),
        ("shots", str(found.shots) if found.shots else ""),
        ("observables", str(_observables(found) or "")),
        ("points", str(points_of(found) or "")),
        ("seed", _seed_text(found)),
        ("labels", _labels_text(found)),
        ("queue", queue_text(found.queue) if found.HasField("queue") else ""),
        ("inputs", _inputs_text(inputs)),
        ("created", local_time(found.created_at)),
        ("started", local_time(found.started_at)),
        ("finished", local_time(found.finished_at)),
        ("server", found.server),
        ("attempt", str(found.attempt) if found.attempt > 1 else ""),
        ("events", str(found.last_sequence)),
        ("failure", failure_text(found.failure) if found.HasField("failure") else ""),
    ]
    for run in found.program_runs:
        said = f": {failure_text(run.failure)}" if run.HasField("failure") else ""
        results = f", {_results_text(run)}" if run.result_ids else ""
        facts.append((f"program {run.index + 1}", f"{state_name(run.state)}{results}{said}"))
    shown = [(name, value) for name, value in facts if value and value != "-"]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        click.echo(f"{name:<{width}}  {value}")
    return OK


def _observables(job: Job) -> int:
    """Return the number of observables of an estimator."""
    return job.estimator_reference.count or len(job.estimator.observables)


def _results_text(run: ProgramRun) -> str:
    """Return the ids of the results; of many points only the first."""
    from qonduit_client.formatting import plural

    if run.points > 1 and len(run.result_ids) > 1:
        return f"results of {run.points_done} of {plural(run.points, 'point')}, the first is {run.result_ids[0]}"
    return f"results {', '.join(map(str, run.result_ids))}"


def _choice_text(job: Job) -> str:
    """Return why the server chose the device, "" if the request named it."""
    from qonduit_client.formatting import estimate_text

    if not job.HasField("device_choice"):
        return ""
    choice = job.device_choice
    return ", ".join(part for part in (f"{choice.requested}: {choice.reason}", estimate_text(choice)) if part)


def _seed_text(job: Job) -> str:
    if job.HasField("seed"):
        return str(job.seed)
    return f"{job.drawn_seed} (drawn)" if job.HasField("drawn_seed") else ""


def _inputs_text(inputs: Mapping[str, object]) -> str:
    """Return the first inputs with their values, each of about twenty characters."""
    from qonduit_client.cli.ended_jobs import value_text

    shown = [
        f"{name}={text[:20]}..." if len(text := value_text(inputs[name])) > 23 else f"{name}={text}"
        for name in sorted(inputs)[:_INPUTS]
    ]
    more = len(inputs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=active_jobs)
@click.option("--name", metavar="TEXT", help="New name of the job.")
@label_option("job")
@schedule_options
@shared_options()
def update(
    job_id: int, name: str | None, labels: dict[str, str] | None, schedule: Mapping[str, object] | None = None
) -> int:
    """Change a job that waits in the queue. Labels replace all old ones. Operators change the jobs of all users."""
    if name is None and not labels and not schedule:
        raise click.UsageError("pass --name, --label, --priority, --not-before or --expires-at")
    here = session()
    with here.client() as client:
        found = client.job(job_id).update(name=name, labels=labels or None, schedule=schedule)
    write_rows(here, _job_columns([found]), [found], line=lambda each: each)
    return OK


_dry_run = click.option("--dry-run", is_flag=True, help="With a filter: only count the jobs, and change none.")


@click.command()
@click.argument("job_ids", type=JOB_ID, nargs=-1, metavar="[JOB]...", shell_complete=active_jobs)
@filter_options
@_dry_run
@shared_options()
def cancel(job_ids: Sequence[int], dry_run: bool) -> int:
    """Cancel jobs, by id or all that match a filter ('*': all). Jobs that have ended do not change."""
    from qonduit_client.job import state_name

    here = session()
    columns = [Column("job_id", lambda done: done[0]), Column("state", lambda done: state_name(done[1].state))]
    with here.client() as client:
        if _is_by_filter(job_ids, dry_run, "cancel"):
            changed = client.cancel_jobs(chosen_filter(), validate_only=dry_run)
            return _show_changed(here, changed, "cancelled", dry_run)
        return act_on(
            here,
            job_ids,
            lambda job_id: (job_id, client.job(job_id).cancel()),
            columns,
            line=lambda done: done[1],
            outcome=lambda done: f"job {done[0]}: {state_name(done[1].state)}",
        )


@click.command()
@click.argument("job_ids", type=JOB_ID, nargs=-1, metavar="[JOB]...", shell_complete=ended_jobs)
@filter_options
@_dry_run
@shared_options()
def delete(job_ids: Sequence[int], dry_run: bool) -> int:
    """Delete jobs that have ended, with their events and results: by id or all that match a filter ('*': all)."""
    here = session()
    with here.client() as client:
        if _is_by_filter(job_ids, dry_run, "delete"):
            changed = client.delete_jobs(chosen_filter(), validate_only=dry_run)
            return _show_changed(here, changed, "deleted", dry_run)
        return remove_each(here, "deleted", job_ids, client.delete_job, lambda job_id: f"job {job_id}: deleted")


def _is_by_filter(job_ids: Sequence[int], dry_run: bool, command: str) -> bool:
    """Return whether the jobs are selected by a filter; one way to select them is required."""
    if bool(job_ids) == bool(chosen_filter()):
        raise click.UsageError(
            f"pass either job ids (`qonduit jobs` lists them) or a filter: qonduit {command} --filter TEXT"
        )
    if dry_run and job_ids:
        raise click.UsageError("--dry-run needs a filter")
    return not job_ids


def _show_changed(here: Session, changed: MatchingJobs, word: str, dry_run: bool) -> int:
    """Write what a change of all matching jobs did."""
    from qonduit_client.formatting import plural

    if here.output != "table":
        row = {"count": changed.count, "dry_run": dry_run, "job_ids": changed.job_ids}
        columns = [Column("count", lambda each: each["count"]), Column("dry_run", lambda each: each["dry_run"])]
        write_rows(here, columns, [row], line=lambda each: each)
        return OK
    some = ", ".join(map(str, changed.job_ids[:_NAMED])) + (", ..." if changed.count > _NAMED else "")
    would = "would be " if dry_run else ""
    click.echo(f"{plural(changed.count, 'job')} {would}{word}{f': {some}' if some else ''}")
    return OK
