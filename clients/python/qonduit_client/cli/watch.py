# SPDX-License-Identifier: Apache-2.0
"""Commands that follow jobs and show results: watch, result; and functions for commands that create jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, Literal

import click

from qonduit_client.cli.completion import active_jobs, all_jobs
from qonduit_client.cli.ended_jobs import ended
from qonduit_client.cli.error_messages import INTERRUPTED, OK, worst
from qonduit_client.cli.result_output import ResultOptions, add_result_options, show_one, show_several
from qonduit_client.cli.session import JOB_ID, Session, report, session, shared_options
from qonduit_client.errors import QonduitError
from qonduit_client.job_filters import both

if TYPE_CHECKING:
    from qonduit_client.cli.views import View
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle
    from qonduit_client.multi_watch import WatchedJob

timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop waiting; the job continues."
)
_ACTIVE: Final = ("QUEUED", "RUNNING", "CANCELLING")


@click.command()
@click.argument("job_ids", type=JOB_ID, nargs=-1, metavar="JOB...", shell_complete=active_jobs)
@click.option("--running", is_flag=True, help="Follow all jobs that are queued or running now.")
@click.option(
    "--filter",
    "wanted",
    default="",
    metavar="TEXT",
    help="With --running: follow only matching jobs, as 'deployment_id = 7'.",
)
@timeout_option
@add_result_options
@shared_options()
def watch(
    job_ids: Sequence[int],
    running: bool,
    wanted: str,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int | None,
    bits: bool,
) -> int:
    """Follow jobs from their first event until all have ended, and show their results.

    With several jobs, the exit code is the most severe one. An error of one job does not stop the others.
    """
    here = session()
    if bool(job_ids) == running or (wanted and not running):
        raise click.UsageError("pass job ids (`qonduit jobs` lists them), or --running with an optional --filter")
    result_options = ResultOptions(sort, top, bits)
    with here.client() as client:
        if running:
            job_ids = sorted({job.id for state in _ACTIVE for job in client.jobs(both(f'state = "{state}"', wanted))})
            if not job_ids:
                click.echo("no jobs are queued or running; `qonduit jobs` lists all", err=True)
                return OK
        job_ids = list(dict.fromkeys(job_ids))
        if len(job_ids) == 1:
            return follow(here, client, client.job(job_ids[0]), (), timeout, result_options)
        return _watch_several(here, client, job_ids, timeout, result_options)


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=all_jobs)
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@timeout_option
@add_result_options
@shared_options()
def result(
    job_id: int, wait: bool, timeout: float | None, sort: Literal["key", "count"], top: int | None, bits: bool
) -> int:
    """Show a job's results."""
    from qonduit_client.job import TERMINAL, state_name

    here = session()
    with here.client() as client:
        handle = client.job(job_id)
        with interruptible(here, lambda: [job_id]) as interrupted:
            job = handle.wait(timeout) if wait else handle.job()
        if interrupted:
            return INTERRUPTED
        code = show_one(here, ended(client, handle), ResultOptions(sort, top, bits))
        if job.state not in TERMINAL:
            click.echo(
                f"job {job_id} is {state_name(job.state)}; wait for it: qonduit watch {job_id}{here.server_hint()}",
                err=here.output != "table",
            )
        return code


def follow(
    here: Session,
    client: Client,
    handle: JobHandle,
    sources: Sequence[str],
    timeout: float | None,
    result_options: ResultOptions,
    *,
    label: str = "",
) -> int:
    """Show a job's events until it has ended, then its results; return the exit code."""
    from qonduit_client.cli.views import view_for

    with interruptible(here, lambda: [handle.id]) as interrupted:
        view: View
        with view_for(output=here.output) as view:
            row = view.row(label)
            for event in handle.events(timeout=timeout, queue_updates=view.queue_updates):
                row(event)
    if interrupted:
        return INTERRUPTED
    return show_one(here, ended(client, handle, sources), result_options)


@contextmanager
def interruptible(
    here: Session, unfinished_ids: Callable[[], Sequence[int]], further: str = ""
) -> Iterator[list[bool]]:
    """Turn Ctrl-C into a hint on how to resume, without a call to the server.

    Args:
        here: the connection options to repeat in the hint.
        unfinished_ids: returns the ids of the jobs that continue.
        further: one more line of the hint.
    """
    interrupted: list[bool] = []
    try:
        yield interrupted
    except KeyboardInterrupt:
        ids = unfinished_ids()
        click.echo(f"\nStopped following. {_resume_hint(here, ids)}" + (f"\n{further}" if further else ""), err=True)
        interrupted.append(True)
    except QonduitError as error:
        if error.status in ("DEADLINE_EXCEEDED", "UNAVAILABLE") and (ids := unfinished_ids()):
            error.add_note(f"resume with: qonduit watch {' '.join(map(str, ids))}{here.server_hint()}")
        raise


def _resume_hint(here: Session, ids: Sequence[int]) -> str:
    if not ids:
        return "All jobs have ended."
    listed, hint = " ".join(map(str, ids)), here.server_hint()
    continues, what = (f"job {ids[0]} continues", "it") if len(ids) == 1 else (f"{len(ids)} jobs continue", "them")
    return (
        f"{continues}.\n  follow {what}:  qonduit watch {listed}{hint}\n  cancel {what}:  qonduit cancel {listed}{hint}"
    )


def unfinished(several: Sequence[WatchedJob]) -> list[int]:
    """Return the ids of the jobs that were created and have not ended."""
    return [each.handle.id for each in several if each.handle is not None and each.job is None]


def report_errors(here: Session, several: Sequence[WatchedJob]) -> int:
    """Report each job that could not be followed to its end; return the most severe exit code."""
    codes = []
    for each in several:
        if each.error is not None:
            if each.handle is not None and each.error.status in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
                each.error.add_note(f"resume with: qonduit watch {each.handle.id}{here.server_hint()}")
            codes.append(report(each.error, here))
    return worst(codes)


def _watch_several(
    here: Session, client: Client, ids: Sequence[int], timeout: float | None, result_options: ResultOptions
) -> int:
    from qonduit_client.cli.views import view_for
    from qonduit_client.multi_watch import WatchedJob, watch_all

    several: list[WatchedJob] = []
    # Jobs behind the end of the list have no thread yet.
    unfinished_ids = lambda: [job_id for job_id, one in zip_longest(ids, several) if one is None or one.job is None]  # noqa: E731
    with interruptible(here, unfinished_ids) as interrupted:
        view: View
        with view_for(output=here.output, jobs=len(ids)) as view:
            for job_id in ids:
                row = view.row(f"job {job_id}")
                several.append(WatchedJob(partial(client.job, job_id), row))
            watch_all(client, several, timeout=timeout, queue_updates=view.queue_updates)
    if interrupted:
        return INTERRUPTED
    shown = (ended(client, each.handle) for each in several if each.handle is not None and each.job is not None)
    return worst([show_several(here, shown, result_options), report_errors(here, several)])
