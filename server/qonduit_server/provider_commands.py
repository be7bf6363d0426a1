# SPDX-License-Identifier: Apache-2.0
"""The operator's commands `qonduit provider install`, `list` and `remove`, for the environments of vendors."""

from __future__ import annotations

import sys

import click

from qonduit_server import provider_environments
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.setting_options import Configuration, settings_options

EXIT_FAILED = 1


@click.group(cls=OperatorCommands)
def provider() -> None:
    """Install, list and remove the environments in which the server calls vendors. A restart adopts each change."""


@provider.command()
@click.argument("name")
@settings_options("provider_environments")
def install(name: str, configuration: Configuration) -> None:
    """Build the environment of the provider NAME from the list of packages that this version contains.

    Uses uv if it is installed, else pip, with their configuration. All packages have hashes. Repeat the command after
    an upgrade of the server: `list` shows outdated environments.
    """
    folder = configuration.settings.provider_environments
    built = provider_environments.install(folder, name.upper(), lambda line: click.echo(f"+ {line}", err=True))
    click.echo(f"{built.folder}: the environment of {built.provider} is {built.state}; restart the server to use it")


@provider.command("list")
@settings_options("provider_environments")
def list_environments(configuration: Configuration) -> None:
    """List the providers that need an environment of their own, and the states of these environments."""
    from qonduit_client.text_table import table_of

    found = provider_environments.environments(configuration.settings.provider_environments)
    rows = [(each.provider, each.state, str(each.folder)) for each in found]
    click.echo(table_of(("provider", "state", "folder"), rows))


@provider.command()
@click.argument("name")
@settings_options("provider_environments")
def remove(name: str, configuration: Configuration) -> None:
    """Remove the environment of the provider NAME. Exit with 1 if it is not installed."""
    if not provider_environments.remove(configuration.settings.provider_environments, name.upper()):
        click.echo(f"qonduit: no environment of {name.upper()} is installed", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"removed the environment of {name.upper()}")
