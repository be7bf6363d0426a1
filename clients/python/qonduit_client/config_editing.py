# SPDX-License-Identifier: Apache-2.0
"""Changes of the configuration file by `qonduit config`, which keep its comments and the order of its entries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from qonduit_client.errors import ConfigInvalid
from qonduit_client.named_servers import Configuration, NamedServer, parse, read_configuration
from qonduit_client.private_files import write_private
from qonduit_client.toml_lines import header_of


def add_server(server: NamedServer, *, default: bool) -> Configuration:
    """Add a server, or replace the one of the same name; the first server becomes the default.

    Raises:
        ConfigInvalid: the file is not valid or cannot be written, or the server is not valid.
    """
    before, text = _current()
    servers = {**before.servers, server.name: server}
    chosen = server.name if default or not before.servers else before.default
    text = _without(text, server.name).rstrip("\n")
    text = (f"{text}\n\n" if text else "") + _section(server)
    return _write(replace(before, servers=servers, default=chosen), _with_default(text, chosen))


def remove_server(name: str) -> Configuration:
    """Remove a server.

    Raises:
        ConfigInvalid: the file is not valid or cannot be written, or has no such server.
    """
    before, text = _current()
    before.server(name)
    servers = {each: server for each, server in before.servers.items() if each != name}
    chosen = None if before.default == name else before.default
    return _write(replace(before, servers=servers, default=chosen), _with_default(_without(text, name), chosen))


def use_server(name: str) -> Configuration:
    """Make a server the default.

    Raises:
        ConfigInvalid: the file is not valid or cannot be written, or has no such server.
    """
    before, text = _current()
    before.server(name)
    return _write(replace(before, default=name), _with_default(text, name))


def _current() -> tuple[Configuration, str]:
    configuration = read_configuration()
    try:
        return configuration, configuration.path.read_text()
    except FileNotFoundError:
        return configuration, ""


def _write(wanted: Configuration, text: str) -> Configuration:
    """Write the text if it has the wanted meaning; else the file has a form that cannot be edited line by line."""
    try:
        written = parse(text, wanted.path)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"the change is not valid: {error.message}") from None
    if dict(written.servers) != dict(wanted.servers) or written.default != wanted.default:
        raise ConfigInvalid(
            f"{wanted.path}: only a file of the form `[servers.NAME]`, `key = value` can be changed: edit it by hand"
        )
    file = wanted.path.resolve()  # a symbolic link stays one
    try:
        write_private(file, text)
    except OSError as error:
        raise ConfigInvalid(f"{wanted.path}: {error.strerror or error}") from None
    return written


def _section(server: NamedServer) -> str:
    values: dict[str, str | bool] = {"target": server.target}
    if server.tls is not None:
        values["tls"] = server.tls if isinstance(server.tls, bool) else str(server.tls)
    if server.token_file is not None:
        values["token_file"] = str(server.token_file)
    if server.project:
        values["project"] = server.project
    text = _table(f"servers.{server.name}", values)
    if server.oidc is not None:
        oidc = server.oidc
        values = {"issuer": oidc.issuer, "client_id": oidc.client_id, "scope": oidc.scope, "audience": oidc.audience}
        text += "\n" + _table(f"servers.{server.name}.oidc", {key: value for key, value in values.items() if value})
    return text


def _table(name: str, values: Mapping[str, str | bool]) -> str:
    # A JSON string with escapes for all but ASCII is also a TOML string.
    return f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _without(text: str, name: str) -> str:
    """Return the text without the tables of a server; comments above the next table stay."""
    kept: list[str] = []
    comments: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            header = header_of(line)
            inside = header is not None and header[:2] == ("servers", name)
            if not inside:
                kept += comments
            comments = []
        if not inside:
            kept.append(line)
        elif line.lstrip().startswith("#"):
            comments.append(line)
        elif line.strip():
            comments = []
    return "".join(kept)


def _with_default(text: str, name: str | None) -> str:
    """Return the text with another default; keys without a table come first."""
    lines = text.splitlines(keepends=True)
    top = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    head = [line for line in lines[:top] if not re.match(r"\s*default\s*=", line)]
    chosen = [] if name is None else [f'default = "{name}"\n']
    gap = ["\n"] if chosen and not head and top < len(lines) else []
    return "".join([*chosen, *gap, *head, *lines[top:]])
