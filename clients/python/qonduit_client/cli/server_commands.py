# SPDX-License-Identifier: Apache-2.0
"""Commands that show and change a server's resources: devices, deployments, info, workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from qonduit_client.cli import completion
from qonduit_client.cli.credential_options import credential_options, take_credential
from qonduit_client.cli.device_comparison import show_comparison
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.input_options import label_option
from qonduit_client.cli.job_options import project_option
from qonduit_client.cli.output import Column, labels_text, moment, remove_each, size, write_rows
from qonduit_client.cli.session import DEPLOYMENT_ID, LIMIT, SHOTS, session, shared_options
from qonduit_client.cli.simulation_flags import simulation_flags, take_simulation
from qonduit_client.cli.sources import or_pipe, read_sources
from qonduit_client.distribution import pip_install

if TYPE_CHECKING:
    from qonduit.v1.device_pb2 import Device
    from qonduit.v1.system_service_pb2 import Worker


@click.command()
@click.option("--languages", is_flag=True, help="List the languages of each provider instead.")
@click.option(
    "--filter", "wanted", default="", metavar="TEXT", help="List only matching devices, as 'is_simulator = true'."
)
@click.option(
    "--for",
    "files",
    multiple=True,
    metavar="FILE",
    help="Compare the devices for a program: method, memory, estimated time. Repeatable.",
    shell_complete=completion.program_files,
)
@click.option("--shots", type=SHOTS, default=1000, show_default=True, metavar="N", help="With --for: shots.")
@click.option(
    "--refresh",
    "refreshed",
    default="",
    metavar="PROVIDER",
    help="Read the devices of a provider again first; with a credential, from its vendor. For operators.",
)
@credential_options
@simulation_flags
@click.argument("device", required=False, shell_complete=completion.devices)
@shared_options()
def devices(
    languages: bool,
    wanted: str,
    files: Sequence[str],
    shots: int,
    refreshed: str,
    credential_name: str | None,
    credential_file: str | None,
    device: str | None,
    **options: object,
) -> int:
    """List the devices. With DEVICE, show that one and its measured properties.

    JSON contains the whole calibration. Options of the simulation apply with --for, and credentials with --refresh.
    """
    account: dict[str, Any] = {"credential_name": credential_name, "credential_file": credential_file}
    if refreshed:
        with session().client() as client:
            take_credential(client, account)
            client.refresh_devices(refreshed, **account)
    elif credential_name or credential_file:
        raise click.UsageError("--credential and --credential-file need --refresh PROVIDER")
    if bool(files) + (device is not None) + (languages or bool(wanted)) > 1:
        raise click.UsageError("use one of DEVICE, --for FILE, and --languages or --filter")
    take_simulation(options)
    if files:
        return show_comparison(session(), files, {"shots": shots, **options})
    if options:
        raise click.UsageError("options of the simulation need --for FILE")
    if device is not None:
        return show_device(device)
    from qonduit_client.cli.as_json import as_dict
    from qonduit_client.device_requests import named
    from qonduit_client.formatting import language_name

    here = session()
    with here.client() as client:
        providers = sorted(client.providers(), key=lambda each: each.name)
        found = [] if languages else client.devices(wanted)
    if languages:
        taken = {
            each.id: [language_name(line.supported_language) for line in each.supported_languages] for each in providers
        }
        if here.output == "table":
            for each in providers:
                click.echo(f"{each.name}: {', '.join(taken[each.id])}")
            return OK
        columns = [
            Column("provider", lambda each: each.name),
            Column("with_token", lambda each: each.with_token),
            Column("languages", lambda each: " ".join(taken[each.id])),
        ]
        write_rows(here, columns, providers, line=lambda each: each)
        return OK
    names = {device.id: name for name, device in named(found, providers).items()}
    found.sort(key=lambda each: names[each.id])
    empty = (
        f"no devices match {wanted}; `qonduit devices` lists all"
        if wanted
        else f"no devices; install providers on the server, as in {pip_install('server', 'ibm')}"
    )
    write_rows(
        here, _device_columns(names), found, line=lambda each: {"device": names[each.id], **as_dict(each)}, empty=empty
    )
    return OK


def show_device(name: str) -> int:
    """Write one device, and its calibration if it has one."""
    from qonduit_client.cli.as_json import as_dict
    from qonduit_client.device_requests import id_of
    from qonduit_client.errors import PreconditionFailed

    here = session()
    calibration = None
    with here.client() as client:
        known = client.named_devices()
        device_id = id_of(name, known)
        with suppress(PreconditionFailed):
            calibration = client.calibration(device_id)

    def line(each: Device) -> dict[str, object]:
        measured = {} if calibration is None else {"calibration": as_dict(calibration)}
        return {"device": name, **as_dict(each), **measured}

    write_rows(here, _device_columns({device_id: name}), [known[name]], line=line)
    if here.output == "table" and calibration is not None:
        from qonduit_client.cli.calibration_summary import summary

        click.echo(f"\n{summary(name, calibration)}")
    return OK


def _device_columns(names: dict[int, str]) -> list[Column]:
    from qonduit_client.formatting import available_text

    def kind(each: Device) -> str:
        return ("simulator" if each.is_simulator else "processor") + (", local" if each.is_local else ", remote")

    def methods(each: Device) -> str:
        return ", ".join(f"{method.name} {method.max_qubits}" for method in each.capabilities.methods)

    def waiting(each: Device) -> int | None:
        return each.queue_depth if each.HasField("queue_depth") else None

    return [
        Column("device", lambda each: names[each.id], "DEVICE"),
        Column("device_id", lambda each: each.id),
        Column("num_qubits", lambda each: each.num_qubits, "QUBITS", right=True),
        Column("is_simulator", lambda each: each.is_simulator, "KIND", kind),
        Column("is_local", lambda each: each.is_local),
        Column("max_shots", lambda each: each.max_shots, "MAX SHOTS", right=True),
        Column("queue_depth", waiting, "WAITING", right=True),
        Column("available", lambda each: each.available, "AVAILABLE", available_text),
        Column("status_message", lambda each: each.status_message),
        Column(
            "noise",
            lambda each: each.capabilities.noise,
            "NOISE",
            lambda each: "yes" if each.capabilities.noise else "",
        ),
        Column("precision", lambda each: " ".join(each.capabilities.floating_point), "PRECISION"),
        Column(
            "methods", lambda each: " ".join(method.name for method in each.capabilities.methods), "METHODS", methods
        ),
        Column("paused", lambda each: each.HasField("pause")),
    ]


_filter = click.option(
    "--filter",
    "wanted",
    default="",
    metavar="TEXT",
    help="""Matching deployments, as 'name = "bell*" AND label.project = vqe'.""",
)
_limit = click.option(
    "--limit",
    type=LIMIT,
    default=20,
    show_default=True,
    metavar="N",
    help="Maximum number of deployments; 0 lists all.",
)


@click.group(invoke_without_command=True)
@_filter
@_limit
@shared_options()
@click.pass_context
def deployments(context: click.Context, wanted: str, limit: int) -> int:
    """List, create, show and delete stored programs. Without a subcommand, list them."""
    if context.invoked_subcommand is not None:
        return OK
    return list_deployments(wanted, limit)


def list_deployments(wanted: str, limit: int) -> int:
    """Write the newest deployments that match a filter."""
    from qonduit_client.formatting import language_name, local_time

    here = session()
    columns = [
        Column("deployment_id", lambda each: each.id, "ID", right=True),
        Column("programs", lambda each: len(each.programs), "PROGRAMS", right=True),
        Column(
            "languages",
            lambda each: " ".join(sorted({language_name(program.assembler_language) for program in each.programs})),
            "LANGUAGES",
        ),
        Column(
            "deployed_at", lambda each: moment(each.deployed_at), "DEPLOYED", lambda each: local_time(each.deployed_at)
        ),
        Column("deployed_by", lambda each: each.deployed_by, "BY"),
        Column("name", lambda each: each.name, "NAME"),
        Column("labels", lambda each: labels_text(each.labels), "LABELS"),
        Column("project", lambda each: each.project, "PROJECT"),
    ]
    empty = "no deployments; store one with `qonduit deployments create FILE...`"
    if wanted:
        empty = f"no deployments match {wanted}; `qonduit deployments` lists all"
    with here.client() as client:
        found = client.deployments(wanted, limit=limit or None)
        write_rows(here, columns, found, line=lambda each: each, empty=empty)
    return OK


@deployments.command("list")
@_filter
@_limit
@shared_options()
def list_them(wanted: str, limit: int) -> int:
    """List deployments, newest first."""
    return list_deployments(wanted, limit)


@deployments.command()
@click.argument("sources", nargs=-1, metavar="FILE...", shell_complete=completion.program_files)
@click.option("--name", help="Name of the deployment.")
@click.option(
    "--language",
    metavar="NAME",
    help="QASM2, QASM3 ... [default: detected from the program]",
    shell_complete=completion.languages,
)
@click.option(
    "--request-id", metavar="UUID", help="Idempotency key: the same id and request return the same deployment."
)
@label_option("deployment")
@project_option("deployment")
@shared_options()
def create(
    sources: Sequence[str],
    name: str | None,
    language: str | None,
    request_id: str | None,
    labels: dict[str, str] | None,
    project: str | None,
) -> int:
    """Store programs to run later with `qonduit run --deployment ID`. - reads from standard input."""
    here = session()
    nothing = "pass program files (- for standard input): qonduit deployments create bell.qasm"
    sources = or_pipe(sources)
    if not sources:
        raise click.UsageError(nothing)
    programs = read_sources(sources, why=nothing)
    with here.client() as client:
        made = client.deploy(programs, name, language, request_id, labels=labels, project=project)
    if here.output == "table":
        click.echo(f"deployment {made.id}: run it with `qonduit run --deployment {made.id}{here.server_hint()}`")
    else:
        columns = [
            Column("deployment_id", lambda each: each.id),
            Column("programs", lambda each: len(each.programs)),
            Column("name", lambda each: each.name),
        ]
        write_rows(here, columns, [made], line=lambda each: each)
    return OK


@deployments.command()
@click.argument("deployment_id", type=DEPLOYMENT_ID, metavar="ID", shell_complete=completion.deployments)
@shared_options()
def show(deployment_id: int) -> int:
    """Show a deployment and its programs."""
    from qonduit_client.cli.as_json import as_line
    from qonduit_client.formatting import language_name, local_time

    here = session()
    with here.client() as client:
        found = client.deployment(deployment_id)
    if here.as_json:
        click.echo(as_line(found))
        return OK
    if here.output == "csv":
        columns = [
            Column("program_id", lambda program: program.id),
            Column("language", lambda program: language_name(program.assembler_language)),
            Column("bytes", lambda program: len(program.quantum_circuit_binary or program.quantum_circuit.encode())),
            Column("quantum_circuit", lambda program: program.quantum_circuit),
        ]
        write_rows(here, columns, found.programs)
        return OK
    name = f" {found.name!r}" if found.name else ""
    project = f" in project {found.project}" if found.project else ""
    click.echo(
        f"deployment {found.id}{name}, of {local_time(found.deployed_at)} by {found.deployed_by or '-'}{project}"
    )
    for index, program in enumerate(found.programs):
        size = len(program.quantum_circuit_binary)
        click.echo(f"\nprogram {index + 1} (id {program.id}), {language_name(program.assembler_language)}")
        click.echo(program.quantum_circuit.rstrip() if not size else f"({size} bytes)")
    return OK


@deployments.command()
@click.argument(
    "deployment_ids",
    type=DEPLOYMENT_ID,
    nargs=-1,
    required=True,
    metavar="ID...",
    shell_complete=completion.deployments,
)
@shared_options()
def delete(deployment_ids: Sequence[int]) -> int:
    """Delete deployments that no job refers to."""
    here = session()
    with here.client() as client:
        return remove_each(
            here, "deleted", deployment_ids, client.delete_deployment, lambda each: f"deployment {each}: deleted"
        )


@click.command()
@shared_options()
def info() -> int:
    """Show a server's version and limits."""
    from qonduit_client.cli.as_json import as_line

    here = session()
    with here.client() as client:
        found = client.info()
        target = client.target
    if here.as_json:
        click.echo(as_line(found))
        return OK
    limits = found.limits
    rows = [
        ("server", f"Qonduit {found.version} at {target}"),
        ("store", found.store),
        ("features", ", ".join(found.features)),
        ("request", f"up to {size(limits.max_request_bytes)}"),
        ("program", f"up to {size(limits.max_program_bytes)}, {limits.max_programs} a deployment"),
        ("shots", f"up to {limits.max_shots} a job; a device may allow fewer"),
        ("memory", f"up to {size(limits.max_task_memory_bytes)} a task"),
        ("time", f"up to {limits.max_job_duration.ToTimedelta()} a job"),
        ("queue", f"up to {limits.max_queued_jobs} jobs"),
    ]
    if here.output == "csv":
        write_rows(here, [Column("name", lambda row: row[0]), Column("value", lambda row: row[1])], rows)
        return OK
    for name, value in rows:
        if value:
            click.echo(f"{name:<8}  {value}")
    return OK


@click.command()
@shared_options()
def workers() -> int:
    """List a server's worker processes."""
    from qonduit.v1.system_service_pb2 import WorkerState
    from qonduit_client.formatting import local_time

    def state(each: Worker) -> str:
        return WorkerState.Name(each.state).removeprefix("WORKER_STATE_").lower()

    def versions(each: Worker) -> str:
        """Return the versions in which workers of a provider differ."""
        others = [other.versions for other in listed if other.provider == each.provider]
        return ", ".join(
            f"{name} {version}"
            for name, version in sorted(each.versions.items())
            if any(other.get(name) != version for other in others)
        )

    here = session()
    with here.client() as client:
        listed = client.workers()
    columns = [
        Column("provider", lambda each: each.provider, "PROVIDER"),
        Column("pid", lambda each: each.pid, "PID", right=True),
        Column("state", state, "STATE"),
        Column("job_id", lambda each: each.job_id or None, "JOB", right=True),
        Column("since", lambda each: moment(each.since), "SINCE", lambda each: local_time(each.since)),
        Column("memory_bytes", lambda each: each.memory_bytes, "MEMORY", lambda each: size(each.memory_bytes)),
        Column("phase", lambda each: each.phase, "PHASE"),
        Column("server", lambda each: each.server),
        Column("host", lambda each: each.host, "HOST" if any(each.host for each in listed) else ""),
        Column("versions", versions, "VERSIONS" if any(map(versions, listed)) else ""),
        # Shown if machines and the server differ; machines of some older releases report none.
        Column(
            "release",
            lambda each: each.release,
            "RELEASE" if any(each.release != listed[0].release for each in listed) else "",
            lambda each: each.release or "older",
        ),
    ]
    empty = "no workers; the server starts them with the first job of a provider"
    write_rows(here, columns, listed, line=lambda each: each, empty=empty)
    return OK
