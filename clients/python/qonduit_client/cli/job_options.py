# SPDX-License-Identifier: Apache-2.0
"""The options of every command that creates a job from programs: run, estimate, sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qonduit_client.cli.completion import deployments, devices, languages, program_files, projects
from qonduit_client.cli.credential_options import credential_options
from qonduit_client.cli.error_messages import did_you_mean
from qonduit_client.cli.input_options import input_option, label_option
from qonduit_client.cli.schedule_options import schedule_options
from qonduit_client.cli.session import DEPLOYMENT_ID, SEED
from qonduit_client.cli.sources import or_pipe, read_sources
from qonduit_client.costs import cost_of
from qonduit_client.errors import NotFound, QonduitError

if TYPE_CHECKING:
    from qonduit_client.client import Client
    from qonduit_client.program_messages import Program

_Command = TypeVar("_Command", bound=Callable[..., Any])


def job_options(command: _Command) -> _Command:
    """Add the options: files, device, language, seed, name, deployment, request id, project and inputs."""
    for option in reversed(
        (
            click.argument("sources", nargs=-1, metavar="[FILE]...", shell_complete=program_files),
            click.option(
                "--device",
                default="IBM/aer_simulator",
                show_default=True,
                metavar="PROVIDER/NAME",
                help="The device.",
                shell_complete=devices,
            ),
            click.option(
                "--language",
                metavar="NAME",
                help="QASM2, QASM3 ... [default: detected from the program]",
                shell_complete=languages,
            ),
            click.option("--seed", type=SEED, metavar="N", help="Seed of simulators, from 0 to 4294967295."),
            click.option("--name", help="Name of the job. [default: the first file's]"),
            click.option(
                "--deployment",
                type=DEPLOYMENT_ID,
                metavar="ID",
                help="Run this deployment's programs instead of files.",
                shell_complete=deployments,
            ),
            click.option(
                "--request-id", metavar="UUID", help="Idempotency key: the same id and request return the same job."
            ),
            label_option("job"),
            project_option("job"),
            click.option(
                "--stop-when",
                type=float,
                metavar="E",
                help="End the job early at this standard error: of each observable, or of each outcome's probability.",
            ),
            schedule_options,
            version_options,
            max_cost_option,
            vendor_option,
            credential_options,
            input_option,
        )
    ):
        command = option(command)
    return command


def max_cost_option(command: _Command) -> _Command:
    """Add the option for the maximum cost at a vendor; the command receives no argument without it."""
    return click.option(
        "--max-cost",
        metavar="AMOUNT UNIT",
        expose_value=False,
        callback=_keep_cost,
        help="At a vendor: do not submit the job if its estimated cost is higher ('5 EUR'), or not known.",
    )(command)


def vendor_option(command: _Command) -> _Command:
    """Add the option for batches and sessions at a vendor; the command receives no argument without it."""
    return click.option(
        "--vendor-mode",
        type=click.Choice(["batch", "session"]),
        expose_value=False,
        callback=_keep_mode,
        help="At a vendor: all parts of the job share a batch or a session.",
    )(command)


def _keep_mode(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.params["vendor_options"] = value


def _keep_cost(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            cost_of(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, option) from None
        context.params["max_cost"] = value


def version_options(command: _Command) -> _Command:
    """Add the options for the versions that a job requires; the command receives what `Client.run` takes."""
    waiting = click.option(
        "--wait-for-versions",
        is_flag=True,
        callback=_with_versions,
        help="Wait while no worker has the required versions.",
    )
    required = click.option(
        "--require-version",
        "versions",
        multiple=True,
        is_eager=True,
        metavar="PACKAGE==VERSION",
        callback=lambda _, __, given: list(given) or None,
        help="Run on a worker with this version of a package ('numpy>=2,<3': one of these); repeatable.",
    )
    return required(waiting(command))


def _with_versions(context: click.Context, option: click.Parameter, waits: bool) -> bool:
    if waits and not context.params.get("versions"):
        raise click.BadParameter("pass the versions as well: --require-version qiskit-aer==0.17.2", context, option)
    return waits


def project_option(thing: str) -> Callable[[_Command], _Command]:
    """Return the option for the project of something to create."""
    return click.option(
        "--project",
        metavar="NAME",
        help=f"The project that owns the {thing}; '' for you alone. [default: that of `qonduit config`, else '']",
        shell_complete=projects,
    )


def programs_and_name(
    command: str, sources: Sequence[str], deployment: int | None, name: str | None
) -> tuple[Sequence[str], list[Program] | None, str | None]:
    """Return the files, their programs (None with a deployment), and the name of the job.

    Raises:
        click.UsageError: there are neither files nor a deployment, or both, or a file cannot be read.
    """
    nothing = f"pass program files (- for standard input) or --deployment ID: qonduit {command} bell.qasm"
    if deployment is not None and sources:
        raise click.UsageError(nothing)
    if deployment is None:
        sources = or_pipe(sources)
        if not sources:
            raise click.UsageError(nothing)
    programs = read_sources(sources, why=nothing) if deployment is None else None
    return sources, programs, name or next((Path(source).name for source in sources if source != "-"), None)


@contextmanager
def suggesting_devices(client: Client, wanted: str) -> Iterator[None]:
    """Add the names of the devices, and those similar to the requested one, to the error that it does not exist."""
    try:
        yield
    except NotFound as error:
        _suggest_device(client, error, wanted)
        raise


def _suggest_device(client: Client, error: NotFound, wanted: str) -> None:
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
