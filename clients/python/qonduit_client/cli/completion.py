# SPDX-License-Identifier: Apache-2.0
"""Shell completion: the command that prints the script, and the completions of options and arguments.

Completions that need the server use a short timeout and are empty if it does not respond: completion must neither block
the shell nor print errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

if TYPE_CHECKING:
    from qonduit_client.client import Client

#: Seconds within which the server must respond.
TIMEOUT: Final = 0.5
_NEWEST: Final = 50
_Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: The script passes the unsplit line: bash also splits words at colons and equals signs (COMP_WORDBREAKS), as in
#: HOST:PORT. Replies must omit the part of such a word before its last break.
_BASH: Final = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" cur="${COMP_WORDS[COMP_CWORD]}" before reply kind value
    local word="${line##*[[:space:]]}"
    COMPREPLY=()
    [[ "$cur" == [:=] ]] && cur=""
    before="${word%%"$cur"}"
    while IFS=',' read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class WholeLine(BashComplete):
    """Bash completion that receives the unsplit line."""

    source_template = _BASH

    def source(self) -> str:
        """Return the script. The template doubles the `%` of shell expansions."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words and the incomplete one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        typing = bool(words) and not line[-1:].isspace()
        return (words[:-1], words[-1]) if typing else (words, "")


add_completion_class(WholeLine, "bash")


@click.command(
    epilog="""\b
bash:  eval "$(qonduit completion bash)"               in ~/.bashrc
zsh:   eval "$(qonduit completion zsh)"                in ~/.zshrc
fish:  qonduit completion fish > ~/.config/fish/completions/qonduit.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell script that completes commands, options, devices, jobs and files."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "qonduit", "_QONDUIT_COMPLETE").source())


def program_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete file names."""
    return [CompletionItem(incomplete, type="file")]


def languages(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete languages that this client knows."""
    from qonduit.v1.provider_pb2 import AssemblerLanguage

    names = (name.removeprefix("ASSEMBLER_LANGUAGE_") for name in AssemblerLanguage.keys())  # noqa: SIM118
    return _matching(((name, "") for name in names if name != "UNSPECIFIED"), incomplete.upper())


def _from_server(query: Callable[[Client], Iterable[tuple[str, str]]]) -> _Complete:
    """Return a completion function for a query that yields words with their descriptions."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from qonduit_client.cli.session import Session
        from qonduit_client.errors import QonduitError
        from qonduit_client.login.login_token import needs_refresh
        from qonduit_client.named_servers import resolve

        here = context.find_object(Session) or Session()
        try:
            if needs_refresh(resolve(here.server)):
                return []  # a refresh lasts longer than a completion may
            with here.client(connect_timeout=TIMEOUT, timeout=TIMEOUT) as client:
                return _matching(list(query(client)), incomplete)
        except (QonduitError, click.ClickException):
            return []

    return complete


def _matching(found: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(word, help=description or None) for word, description in found if word.startswith(incomplete)
    ]


def _devices(client: Client) -> Iterable[tuple[str, str]]:
    return sorted((name, f"{each.num_qubits} qubits") for name, each in client.named_devices().items())


def _subjects(client: Client) -> Iterable[tuple[str, str]]:
    providers = ((each.name, "provider") for each in client.providers())
    return [("server", "all servers"), *sorted(providers), *_devices(client)]


def _methods(client: Client) -> Iterable[tuple[str, str]]:
    circuits = {method.name: method.circuits for each in client.devices() for method in each.capabilities.methods}
    return sorted({"automatic": "the device chooses", **circuits}.items())


def _jobs(wanted: Callable[[str], bool]) -> Callable[[Client], Iterable[tuple[str, str]]]:
    def query(client: Client) -> Iterable[tuple[str, str]]:
        from qonduit_client.job import state_name

        for job in client.jobs(limit=_NEWEST):
            if wanted(state := state_name(job.state)):
                yield str(job.id), f"{state} {job.name}".rstrip()

    return query


def _deployments(client: Client) -> Iterable[tuple[str, str]]:
    return ((str(each.id), each.name) for each in client.deployments(limit=_NEWEST))


def _projects(client: Client) -> Iterable[tuple[str, str]]:
    return ((each.name, each.description) for each in client.projects.list())


_ENDED: Final = ("SUCCEEDED", "FAILED", "CANCELLED")
devices: Final = _from_server(_devices)
subjects: Final = _from_server(_subjects)
methods: Final = _from_server(_methods)
all_jobs: Final = _from_server(_jobs(lambda state: True))
active_jobs: Final = _from_server(_jobs(lambda state: state not in _ENDED))
ended_jobs: Final = _from_server(_jobs(lambda state: state in _ENDED))
deployments: Final = _from_server(_deployments)
projects: Final = _from_server(_projects)
