# SPDX-License-Identifier: Apache-2.0
"""Commands on program languages: translate, languages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qonduit_client.cli import completion
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.input_options import input_option
from qonduit_client.cli.output import Column, write_rows
from qonduit_client.cli.session import session, shared_options
from qonduit_client.cli.sources import or_pipe, read_sources
from qonduit_client.errors import InvalidRequest, PreconditionFailed

if TYPE_CHECKING:
    from qonduit.v1.program_service_pb2 import Language
    from qonduit_client.translation import Translation


@click.command()
@click.argument("source", required=False, metavar="FILE", shell_complete=completion.program_files)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="LANGUAGE",
    help="The target language, as QASM3.",
    shell_complete=completion.languages,
)
@click.option(
    "--from",
    "--language",
    "language",
    metavar="LANGUAGE",
    help="The source language. [default: detected from the program]",
    shell_complete=completion.languages,
)
@input_option
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(),
    help="Write the translation to a file instead of standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the whole response as JSON.")
@shared_options(output=False)
def translate(
    source: str | None,
    target: str,
    language: str | None,
    inputs: dict[str, object] | None,
    output: str | None,
    as_json: bool,
) -> int:
    """Translate a program into another language. FILE may be - for standard input, which is the default in a pipe.

    Warnings on standard error list changed and lost parts. `qonduit languages` lists the languages.
    """
    here = session()
    nothing = "pass a program file (- for standard input): qonduit translate bell.qasm --to QASM3"
    if as_json:
        here.output = "json"
    source = next(iter(or_pipe([source] if source is not None else [])), None)
    if source is None:
        raise click.UsageError(nothing)
    program = read_sources([source], why=nothing)[0]
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
        from qonduit_client.cli.as_json import as_line

        click.echo(as_line(translation.message))
    elif output is None:
        _show(translation)
    return OK


def _explain(error: InvalidRequest | PreconditionFailed, source: str) -> None:
    """Name the file instead of the request's field, and add the next step on the command line."""
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
            error.add_note("choose another language: `qonduit languages` lists them")


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
            f"{translation.language} is binary ({len(source)} bytes) and not shown on a terminal: "
            "write it to a file with --output FILE, or to a pipe"
        )
    click.echo(source, nl=False)


@click.command()
@shared_options()
def languages() -> int:
    """List the program languages, and the cost of translating from and to each."""
    from qonduit_client.cli.as_json import as_dict
    from qonduit_client.formatting import language_name

    here = session()
    with here.client() as client:
        found = client.languages()
    reading = {edge.from_language: edge.cost_milliseconds for edge in found.translations if edge.from_language}
    writing = {edge.to_language: edge.cost_milliseconds for edge in found.translations if edge.to_language}

    def line(each: Language) -> dict[str, Any]:
        costs = {"read_milliseconds": reading.get(each.language), "write_milliseconds": writing.get(each.language)}
        return {**as_dict(each), **costs}

    def reads(each: Language) -> str:
        return _able(each.readable, reading.get(each.language))

    def writes(each: Language) -> str:
        return _able(each.writable, writing.get(each.language))

    columns = [
        Column("language", lambda each: language_name(each.language), "LANGUAGE"),
        Column("form", lambda each: "bytes" if each.binary else "text", "FORM"),
        Column("readable", lambda each: each.readable, "READ", reads, right=True),
        Column("writable", lambda each: each.writable, "WRITE", writes, right=True),
        Column("read_milliseconds", lambda each: reading.get(each.language)),
        Column("write_milliseconds", lambda each: writing.get(each.language)),
        Column(
            "python_source",
            lambda each: each.python_source,
            "PYTHON SOURCE",
            lambda each: "yes" if each.python_source else "no",
        ),
        Column("title", lambda each: each.title, "TITLE"),
    ]
    write_rows(here, columns, found.languages, line=line)
    return OK


def _able(able: bool, cost: float | None) -> str:
    if not able:
        return "no"
    return f"{cost:.1f} ms" if cost else "yes"
