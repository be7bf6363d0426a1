# SPDX-License-Identifier: Apache-2.0
"""Commands that create jobs: run, rerun."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from qonduit_client.cli.completion import ended_jobs
from qonduit_client.cli.credential_options import credential_options, take_credential
from qonduit_client.cli.error_messages import INTERRUPTED, OK
from qonduit_client.cli.job_options import job_options, programs_and_name, suggesting_devices
from qonduit_client.cli.output import Column, size, write_rows
from qonduit_client.cli.result_output import ResultOptions, add_result_options
from qonduit_client.cli.session import JOB_ID, SHOTS, Session, session, shared_options
from qonduit_client.cli.simulation_flags import simulation_flags, take_simulation
from qonduit_client.cli.sweep import run_sweep, sweep_option
from qonduit_client.cli.watch import follow, timeout_option

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job
    from qonduit.v1.job_service_pb2 import CreateJobResponse
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle


@click.command()
@job_options
@click.option(
    "--shots",
    type=SHOTS,
    default=1000,
    show_default=True,
    metavar="N",
    help="Shots per circuit, at least 1.",
)
@sweep_option
@click.option("--statevector", is_flag=True, help="Also show each program's exact state before its final measurements.")
@simulation_flags
@click.option("--detach", is_flag=True, help="Print the job's id and exit without following the job.")
@click.option("--validate-only", is_flag=True, help="Parse and compile the programs without running them.")
@timeout_option
@add_result_options
@shared_options()
def run(
    sources: Sequence[str],
    deployment: int | None,
    request_id: str | None,
    sweep: dict[str, list[object]],
    detach: bool,
    validate_only: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int | None,
    bits: bool,
    **options: Any,
) -> int:
    """Run programs, follow the job and show its results.

    Each FILE is a program of the job; - is standard input, which is also the default if it is a pipe. Ctrl-C stops
    following; the job continues.
    """
    here = session()
    take_simulation(options)
    sources, programs, options["name"] = programs_and_name("run", sources, deployment, options["name"])
    result_options = ResultOptions(sort, top, bits)
    with here.client() as client, suggesting_devices(client, options["device"]):
        take_credential(client, options)
        if sweep:
            return run_sweep(
                here,
                client,
                *(sources, programs, deployment, sweep, result_options, options),
                request_id=request_id,
                timeout=timeout,
                detach=detach,
                validate_only=validate_only,
            )
        if validate_only:
            return show_checked(here, client.check(programs, deployment_id=deployment, **options), options)
        return follow_new(
            here,
            client,
            lambda own_id: client.run(programs, deployment_id=deployment, request_id=own_id, **options),
            *(sources, request_id, detach, timeout, result_options),
            label=options["device"] if deployment is None else "",
        )


def follow_new(
    here: Session,
    client: Client,
    submit: Callable[[str], JobHandle],
    sources: Sequence[str],
    given_id: str | None,
    detach: bool,
    timeout: float | None,
    result_options: ResultOptions,
    *,
    label: str,
) -> int:
    """Create a job, follow it and show its results; with `detach`, print its id only.

    Args:
        here: the connection and the format.
        client: the connection.
        submit: creates the job with this request id.
        sources: the names of the programs.
        given_id: the request id from the command line.
        detach: whether to follow no events.
        timeout: seconds to wait for the job.
        result_options: of the results.
        label: of the progress bar.
    """
    request_id = given_id or str(uuid.uuid4())
    try:
        handle = submit(request_id)
    except KeyboardInterrupt:
        again = f"retry with --request-id {request_id}: it returns the same job and creates no second one"
        click.echo(f"\nInterrupted while submitting. The job may have been created; {again}", err=True)
        return INTERRUPTED
    if handle.deduplicated and given_id:
        click.echo(f"This request id created job {handle.id} before; showing it.", err=True)
    if detach:
        return print_jobs(here, [handle.job() if here.as_json else handle.id])
    return follow(here, client, handle, sources, timeout, result_options, label=label)


def show_checked(here: Session, checked: CreateJobResponse, options: dict[str, Any]) -> int:
    """Write the outcome of compiling: one row per program."""
    if here.output == "json":
        from qonduit_client.cli.as_json import as_dict, as_line

        shown = {"job": as_dict(checked.job), "compiled": [as_dict(each) for each in checked.compiled]}
        if checked.HasField("cost"):
            shown["cost"] = as_dict(checked.cost)
        click.echo(as_line(shown))
        return OK
    if here.output == "table":
        click.echo(f"valid: {checked.job.shots} shots on {options['device']}; nothing was run")
        if checked.HasField("cost"):
            click.echo(f"estimated cost: {checked.cost.amount:g} {checked.cost.unit}")
        if not checked.compiled:  # the server is older
            return OK
    columns = [
        Column("program", lambda each: each.index, "PROGRAM", right=True),
        Column("qubits", lambda each: each.num_qubits, "QUBITS", right=True),
        Column("depth", lambda each: each.depth, "DEPTH", right=True),
        Column("two_qubit_gates", lambda each: each.two_qubit_gates, "TWO-QUBIT GATES", right=True),
        Column("circuits", lambda each: each.circuits, "CIRCUITS", right=True),
        Column("memory_bytes", lambda each: each.memory_bytes, "MEMORY", lambda each: size(each.memory_bytes), True),
    ]
    write_rows(here, columns, checked.compiled)
    for each in checked.compiled:
        for warning in each.warnings:
            click.echo(f"program {each.index}: {warning}", err=True)
    return OK


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=ended_jobs)
@click.option(
    "--exact", is_flag=True, help="Return the same counts and values, on workers with the same versions, or fail."
)
@click.option("--request-id", metavar="UUID", help="Idempotency key: the same id returns the same job.")
@credential_options
@click.option("--detach", is_flag=True, help="Print the job's id and exit without following the job.")
@timeout_option
@add_result_options
@shared_options()
def rerun(
    job_id: int,
    exact: bool,
    request_id: str | None,
    detach: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int | None,
    bits: bool,
    **options: Any,
) -> int:
    """Run a job's programs again, as a new job."""
    here = session()
    with here.client() as client:
        take_credential(client, options)
        handle = client.rerun(job_id, request_id=request_id, exact=exact, **options)
        if detach:
            return print_jobs(here, [handle.job() if here.as_json else handle.id])
        return follow(here, client, handle, (), timeout, ResultOptions(sort, top, bits))


def print_jobs(here: Session, made: Sequence[Job | int]) -> int:
    """Print the ids of created jobs, for scripts."""
    if here.output == "table":
        for each in made:
            click.echo(str(each))
    else:
        write_rows(here, [Column("job_id", lambda each: each)], made, line=lambda job: {"job": _plain(job)})
    return OK


def _plain(job: Job) -> dict[str, Any]:
    from qonduit_client.cli.as_json import as_dict

    return as_dict(job)
