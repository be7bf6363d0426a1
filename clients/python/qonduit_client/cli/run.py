# SPDX-License-Identifier: Apache-2.0
"""Commands that create jobs: run, rerun."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from qonduit_client.cli.completion import deployments, devices, ended_jobs, languages, program_files
from qonduit_client.cli.error_messages import INTERRUPTED, OK, did_you_mean
from qonduit_client.cli.input_options import input_option
from qonduit_client.cli.output import Column, size, write_rows
from qonduit_client.cli.result_output import ResultOptions, add_result_options
from qonduit_client.cli.session import DEPLOYMENT_ID, JOB_ID, SEED, SHOTS, Session, session, shared_options
from qonduit_client.cli.simulation_flags import simulation_flags, take_simulation
from qonduit_client.cli.sources import or_pipe, read_sources
from qonduit_client.cli.sweep import run_sweep, sweep_option
from qonduit_client.cli.watch import follow, timeout_option
from qonduit_client.errors import NotFound, QonduitError

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job
    from qonduit.v1.job_service_pb2 import CreateJobResponse
    from qonduit_client.client import Client

_NOTHING = "pass program files (- for standard input) or --deployment ID: qonduit run bell.qasm"


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILE]...", shell_complete=program_files)
@click.option(
    "--device",
    default="IBM/aer_simulator",
    show_default=True,
    metavar="PROVIDER/NAME",
    help="The device.",
    shell_complete=devices,
)
@click.option(
    "--shots",
    type=SHOTS,
    default=1000,
    show_default=True,
    metavar="N",
    help="Shots per circuit, at least 1.",
)
@click.option(
    "--language",
    metavar="NAME",
    help="QASM2, QASM3 ... [default: detected from the program]",
    shell_complete=languages,
)
@click.option("--seed", type=SEED, metavar="N", help="Seed of simulators, from 0 to 4294967295.")
@click.option("--name", help="Name of the job. [default: the first file's]")
@click.option(
    "--deployment",
    type=DEPLOYMENT_ID,
    metavar="ID",
    help="Run this deployment's programs instead of files.",
    shell_complete=deployments,
)
@click.option("--request-id", metavar="UUID", help="Idempotency key: the same id and request return the same job.")
@input_option
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
    if deployment is not None and sources:
        raise click.UsageError(_NOTHING)
    if deployment is None:
        sources = or_pipe(sources)
        if not sources:
            raise click.UsageError(_NOTHING)
    programs = read_sources(sources, why=_NOTHING) if deployment is None else None
    options["name"] = options["name"] or next((Path(source).name for source in sources if source != "-"), None)
    result_options = ResultOptions(sort, top, bits)
    with here.client() as client:
        try:
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
                return _show_checked(here, client.check(programs, deployment_id=deployment, **options), options)
            return _run(
                here, client, sources, programs, deployment, request_id, detach, timeout, result_options, options
            )
        except NotFound as error:
            _suggest_device(client, error, options["device"])
            raise


def _run(
    here: Session,
    client: Client,
    sources: Sequence[str],
    programs: Sequence[Any] | None,
    deployment: int | None,
    given_id: str | None,
    detach: bool,
    timeout: float | None,
    result_options: ResultOptions,
    options: dict[str, Any],
) -> int:
    request_id = given_id or str(uuid.uuid4())
    try:
        handle = client.run(programs, deployment_id=deployment, request_id=request_id, **options)
    except KeyboardInterrupt:
        again = f"retry with --request-id {request_id}: it returns the same job and creates no second one"
        click.echo(f"\nInterrupted while submitting. The job may have been created; {again}", err=True)
        return INTERRUPTED
    if handle.deduplicated and given_id:
        click.echo(f"This request id created job {handle.id} before; showing it.", err=True)
    if detach:
        return print_jobs(here, [handle.job() if here.as_json else handle.id])
    label = options["device"] if deployment is None else ""
    return follow(here, client, handle, sources, timeout, result_options, label=label)


def _show_checked(here: Session, checked: CreateJobResponse, options: dict[str, Any]) -> int:
    """Write the outcome of compiling: one row per program."""
    if here.output == "json":
        from qonduit_client.cli.as_json import as_dict, as_line

        click.echo(as_line({"job": as_dict(checked.job), "compiled": [as_dict(each) for each in checked.compiled]}))
        return OK
    if here.output == "table":
        click.echo(f"valid: {options['shots']} shots on {options['device']}; nothing was run")
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


def _suggest_device(client: Client, error: NotFound, wanted: str) -> None:
    """Add the device names to the error, and those similar to the requested one."""
    if error.metadata.get("resource_type") != "device":
        return
    try:
        known = sorted(client.named_devices())
    except QonduitError:
        return
    close = did_you_mean(wanted, known)
    if close:
        error.add_note(f"did you mean --device {' or '.join(close)}?")
    error.add_note(f"devices: {', '.join(known)}" if known else "the server has no devices: `qonduit devices`")


@click.command()
@click.argument("job_id", type=JOB_ID, metavar="JOB", shell_complete=ended_jobs)
@click.option("--request-id", metavar="UUID", help="Idempotency key: the same id returns the same job.")
@click.option("--detach", is_flag=True, help="Print the job's id and exit without following the job.")
@timeout_option
@add_result_options
@shared_options()
def rerun(
    job_id: int,
    request_id: str | None,
    detach: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int | None,
    bits: bool,
) -> int:
    """Run a job's programs again, as a new job."""
    here = session()
    with here.client() as client:
        handle = client.rerun(job_id, request_id=request_id)
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
