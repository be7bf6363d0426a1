# SPDX-License-Identifier: Apache-2.0
"""Commands about the languages of programs: translate, languages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qonduit_client.cli_inputs import input_option
from qonduit_client.cli_run import read_sources
from qonduit_client.cli_session import OK, session, shared_options
from qonduit_client.errors import InvalidRequest, PreconditionFailed
from qonduit_client.tables import table_of

if TYPE_CHECKING:
    from qonduit_client.translation import Translation


@click.command()
@click.argument("source", metavar="FILE")
@click.option("--to", "target", required=True, metavar="LANGUAGE", help="The language to write it in, as QASM3.")
@click.option(
    "--from", "--language", "language", metavar="LANGUAGE", help="Its language. [default: found out from the program]"
)
@input_option
@click.option("--output", "-o", metavar="FILE", help="Write the translation there instead of to standard output.")
@shared_options()
def translate(
    source: str, target: str, language: str | None, inputs: dict[str, object] | None, output: str | None
) -> int:
    """Write a program in another language. FILE may be - for standard input.

    What was changed or lost on the way is told on standard error. `qonduit languages` shows what there is.
    """
    here = session()
    program = read_sources([source])[0]
    with here.client() as client:
        try:
            translation = client.translate(program, to=target, language=language, inputs=inputs)
        except (InvalidRequest, PreconditionFailed) as error:
            _explain(error, "standard input" if source == "-" else source)
            raise
    for warning in translation.warnings:
        click.echo(f"warning: {warning}", err=True)
    if output is not None:
        _save(translation, output)
    if here.as_json:
        from qonduit_client.as_json import as_line

        click.echo(as_line(translation.message))
    elif output is None:
        _show(translation)
    return OK


def _explain(error: InvalidRequest | PreconditionFailed, source: str) -> None:
    """Name the file instead of the request's field, and say what to do on the command line."""
    for violation in error.violations:
        for field in ("program.quantum_circuit_binary: ", "program.quantum_circuit: ", "inputs: "):
            if error.message.startswith(field):
                error.message = f"{source}: {error.message.removeprefix(field)}"
                error.violations = ()
        if violation.rule_id == "program.missing_input":
            error.add_note("on the command line: --input NAME=VALUE")
        elif violation.rule_id == "program.wrong_language":
            error.add_note("on the command line: --from LANGUAGE")
        elif violation.field == "target_language":
            error.add_note("another language may do: `qonduit languages` shows what there is")


def _save(translation: Translation, output: str) -> None:
    source = translation.source
    try:
        Path(output).write_bytes(source.encode() if isinstance(source, str) else source)
    except OSError as error:
        raise click.UsageError(f"{output}: {error.strerror or error}") from None


def _show(translation: Translation) -> None:
    source = translation.source
    if isinstance(source, str):
        click.echo(source, nl=not source.endswith("\n"))
        return
    if sys.stdout.isatty():
        raise click.UsageError(
            f"{translation.language} is binary ({len(source)} bytes) and no text for a terminal: "
            "write it to a file with --output FILE, or into a pipe"
        )
    click.echo(source, nl=False)


@click.command()
@shared_options()
def languages() -> int:
    """List the languages that programs can be written in, and what translating from and to each costs."""
    from qonduit_client.as_json import as_dict, as_line
    from qonduit_client.telling import language_name

    here = session()
    with here.client() as client:
        found = client.languages()
    reading = {edge.from_language: edge.cost_milliseconds for edge in found.translations if edge.from_language}
    writing = {edge.to_language: edge.cost_milliseconds for edge in found.translations if edge.to_language}
    if here.as_json:
        for each in found.languages:
            costs = {"read_milliseconds": reading.get(each.language), "write_milliseconds": writing.get(each.language)}
            click.echo(as_line({**as_dict(each), **costs}))
        return OK

    rows = [
        (
            language_name(each.language),
            "bytes" if each.binary else "text",
            _able(each.readable, reading.get(each.language)),
            _able(each.writable, writing.get(each.language)),
            "yes" if each.python_source else "no",
            each.title,
        )
        for each in found.languages
    ]
    click.echo(table_of(("LANGUAGE", "FORM", "READ", "WRITE", "PYTHON SOURCE", "TITLE"), rows, right={2, 3}))
    return OK


def _able(able: bool, cost: float | None) -> str:
    if not able:
        return "no"
    return f"{cost:.1f} ms" if cost else "yes"
