# SPDX-License-Identifier: Apache-2.0
"""Commands about what a server has: devices, deployments, info."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qonduit_client.cli_run import read_sources
from qonduit_client.cli_session import NUMBER, OK, report, session, shared_options
from qonduit_client.errors import QonduitError
from qonduit_client.tables import table_of


@click.command()
@click.option("--languages", is_flag=True, help="List the languages that each provider takes instead.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only these, as 'is_simulator = true'.")
@shared_options()
def devices(languages: bool, wanted: str) -> int:
    """List what programs can run on."""
    from qonduit_client.as_json import as_dict, as_line
    from qonduit_client.telling import device_names, language_name

    here = session()
    with here.client() as client:
        providers = client.providers()
        if languages:
            for provider in sorted(providers, key=lambda each: each.name):
                taken = [language_name(line.supported_language) for line in provider.supported_languages]
                click.echo(as_line(provider) if here.as_json else f"{provider.name}: {', '.join(taken)}")
            return OK
        found = client.devices(wanted)
    names = device_names(found, providers)
    found.sort(key=lambda each: names[each.id])
    if here.as_json:
        for each in found:
            click.echo(as_line({"device": names[each.id], **as_dict(each)}))
        return OK
    rows = [
        (
            names[each.id],
            str(each.num_qubits),
            ("simulator" if each.is_simulator else "processor") + (", local" if each.is_local else ", remote"),
            str(each.max_shots),
            str(each.queue_depth) if each.HasField("queue_depth") else "",
            ("yes" if each.available else "no") + (f": {each.status_message}" if each.status_message else ""),
        )
        for each in found
    ]
    if not rows:
        click.echo('no devices; providers are installed with the server, as in pip install "qonduit[server,ibm]"')
        return OK
    click.echo(table_of(("DEVICE", "QUBITS", "KIND", "MAX SHOTS", "WAITING", "AVAILABLE"), rows, right={1, 3, 4}))
    return OK


@click.group(invoke_without_command=True)
@click.option(
    "--limit", type=NUMBER, default=20, show_default=True, metavar="N", help="How many are listed at most; 0 lists all."
)
@shared_options()
@click.pass_context
def deployments(context: click.Context, limit: int) -> int:
    """List, create, show and delete stored programs. Without a further word, list them."""
    if context.invoked_subcommand is not None:
        return OK
    return list_deployments(limit)


def list_deployments(limit: int) -> int:
    """Writes the newest deployments."""
    from qonduit_client.as_json import as_line
    from qonduit_client.telling import language_name, local_time

    here = session()
    with here.client() as client:
        found = list(client.deployments(limit=limit or None))
    if here.as_json:
        for each in found:
            click.echo(as_line(each))
        return OK
    rows = [
        (
            str(each.id),
            str(len(each.programs)),
            ", ".join(sorted({language_name(program.assembler_language) for program in each.programs})),
            local_time(each.deployed_at),
            each.deployed_by,
            each.name,
        )
        for each in found
    ]
    if not rows:
        click.echo("no deployments; store one with `qonduit deployments create FILE...`")
        return OK
    click.echo(table_of(("ID", "PROGRAMS", "LANGUAGES", "DEPLOYED", "BY", "NAME"), rows, right={0, 1}))
    return OK


@deployments.command("list")
@click.option("--limit", type=NUMBER, default=20, show_default=True, metavar="N", help="How many at most; 0 lists all.")
@shared_options()
def list_them(limit: int) -> int:
    """List deployments, newest first."""
    return list_deployments(limit)


@deployments.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE...")
@click.option("--name", help="A name for people.")
@click.option("--language", metavar="NAME", help="QASM2, QASM3 ... [default: found out from the program]")
@click.option("--request-id", metavar="UUID", help="Creating again with the same id and request gives the same one.")
@shared_options()
def create(sources: Sequence[str], name: str | None, language: str | None, request_id: str | None) -> int:
    """Store programs, to be run later by `qonduit run --deployment ID`. - reads from standard input."""
    from qonduit_client.as_json import as_line

    here = session()
    with here.client() as client:
        made = client.deploy(read_sources(sources), name, language, request_id)
    said = f"deployment {made.id}: run it with `qonduit run --deployment {made.id}{here.server_hint()}`"
    click.echo(as_line(made) if here.as_json else said)
    return OK


@deployments.command()
@click.argument("deployment_id", type=NUMBER, metavar="ID")
@shared_options()
def show(deployment_id: int) -> int:
    """Show a deployment and its programs."""
    from qonduit_client.as_json import as_line
    from qonduit_client.telling import language_name, local_time

    here = session()
    with here.client() as client:
        found = client.deployment(deployment_id)
    if here.as_json:
        click.echo(as_line(found))
        return OK
    name = f" {found.name!r}" if found.name else ""
    click.echo(f"deployment {found.id}{name}, of {local_time(found.deployed_at)} by {found.deployed_by or '-'}")
    for index, program in enumerate(found.programs):
        size = len(program.quantum_circuit_binary)
        click.echo(f"\nprogram {index + 1} (id {program.id}), {language_name(program.assembler_language)}")
        click.echo(program.quantum_circuit.rstrip() if not size else f"({size} bytes)")
    return OK


@deployments.command()
@click.argument("deployment_ids", type=NUMBER, nargs=-1, required=True, metavar="ID...")
@shared_options()
def delete(deployment_ids: Sequence[int]) -> int:
    """Delete deployments that no job refers to."""
    from qonduit_client.as_json import as_line

    here = session()
    code = OK
    with here.client() as client:
        for deployment_id in deployment_ids:
            try:
                client.delete_deployment(deployment_id)
            except QonduitError as error:
                code = report(error, here)
                continue
            said = f"deployment {deployment_id}: deleted"
            click.echo(as_line({"deleted": deployment_id}) if here.as_json else said)
    return code


@click.command()
@shared_options()
def info() -> int:
    """Show a server's version and limits."""
    from qonduit_client.as_json import as_line

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
        ("request", f"up to {_size(limits.max_request_bytes)}"),
        ("program", f"up to {_size(limits.max_program_bytes)}, {limits.max_programs} a deployment"),
        ("shots", f"up to {limits.max_shots} a job; a device may allow fewer"),
        ("memory", f"up to {_size(limits.max_task_memory_bytes)} a task"),
        ("time", f"up to {limits.max_job_duration.ToTimedelta()} a job"),
        ("queue", f"up to {limits.max_queued_jobs} jobs"),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name:<8}  {value}")
    return OK


def _size(count: int) -> str:
    """Bytes in words, by powers of 1024."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
