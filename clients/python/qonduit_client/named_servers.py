# SPDX-License-Identifier: Apache-2.0
"""The configuration file: servers by name, with their connection settings and how to log in. Imports no gRPC.

    default = "lab"

    [servers.lab]
    target = "quantum.example.org:443"
    tls = true

    [servers.lab.oidc]
    issuer = "https://login.example.org"
    client_id = "qonduit"

The file is `$QONDUIT_CONFIG`, else `$XDG_CONFIG_HOME/qonduit/config.toml`, else `~/.config/qonduit/config.toml`.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from qonduit_client.addresses import DEFAULT_TARGET, check_url, is_loopback, with_port
from qonduit_client.errors import ConfigInvalid
from qonduit_client.toml_lines import line_of

#: Bytes that are read of the file.
MOST_BYTES: Final = 1024 * 1024
#: The scope of a login: an ID token for the name of the user, and a refresh token.
DEFAULT_SCOPE: Final = "openid offline_access"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
PROJECT_RULE: Final = "the name of a project is a lower-case letter and up to 62 lower-case letters, digits and '-'"
_PROJECT: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_KEYS: Final = ("target", "tls", "token_file", "project", "oidc")
_OIDC_KEYS: Final = ("issuer", "client_id", "scope", "audience")

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class OidcClient:
    """How to log in to a server: the identity provider, and what the client requests there.

    Attributes:
        issuer: the URL of the identity provider, exactly as its discovery document contains it.
        client_id: the id under which the identity provider knows the client; a public client, without a secret.
        scope: the requested scopes, separated by spaces.
        audience: the server for which tokens are requested; empty if the scope determines it.
    """

    issuer: str
    client_id: str
    scope: str = DEFAULT_SCOPE
    audience: str = ""


@dataclass(frozen=True)
class NamedServer:
    """A server of the configuration file.

    Attributes:
        name: its name.
        target: "HOST:PORT".
        tls: whether the connection is encrypted; a path is a CA bundle; None: QONDUIT_TLS.
        token_file: a file with the token; it is read for each call.
        oidc: how to log in, instead of a token file.
        project: the owner of new jobs and deployments; empty: the user.
        config: the configuration file.
    """

    name: str
    target: str
    tls: bool | Path | None = None
    token_file: Path | None = None
    oidc: OidcClient | None = None
    project: str = ""
    config: Path = field(default=Path(), compare=False)


@dataclass(frozen=True)
class Configuration:
    """The content of the configuration file, valid as a whole.

    Attributes:
        path: the file, which need not exist.
        servers: by name, in the order of the file.
        default: the name of the server of clients without a target; None: 127.0.0.1:50051.
    """

    path: Path
    servers: Mapping[str, NamedServer]
    default: str | None = None

    def server(self, name: str | None = None) -> NamedServer:
        """Return a server by its name, or the default server.

        Raises:
            ConfigInvalid: the file has no such server, or no default.
        """
        name = name or self.default
        known = ", ".join(self.servers) or "none"
        if name is None:
            raise ConfigInvalid(
                f"{self.path}: no default server (servers: {known}); pass a name, or run `qonduit config use NAME`"
            )
        if name not in self.servers:
            close = difflib.get_close_matches(name[:100], list(self.servers), n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigInvalid(
                f"{self.path}: no server is named {name!r:.100} (servers: {known}){meant}; "
                "`qonduit config add NAME HOST:PORT` adds one"
            )
        return self.servers[name]


def config_path() -> Path:
    """Return the path of the configuration file, which need not exist."""
    if explicit := os.environ.get("QONDUIT_CONFIG"):
        return Path(explicit).expanduser()
    folder = base_folder("XDG_CONFIG_HOME", ".config")
    return Path(os.devnull) if folder is None else folder / "qonduit" / "config.toml"


def base_folder(variable: str, under_home: str) -> Path | None:
    """Return a base directory of the user, or None for a user without a home directory, as in some containers."""
    folder = os.environ.get(variable, "")
    if folder.startswith("/"):  # the specification of base directories excludes relative paths
        return Path(folder)
    try:
        return Path.home() / under_home
    except RuntimeError:
        return None


def read_configuration(path: Path | None = None) -> Configuration:
    """Read the configuration file; a missing one is empty.

    Args:
        path: the file; by default `config_path()`.

    Raises:
        ConfigInvalid: the file cannot be read or is not valid, or other users can change it.
    """
    path = path or config_path()
    try:
        text = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    except OSError as error:
        # A program that runs as another user may have a HOME that it cannot read.
        if not isinstance(error, PermissionError) or os.environ.get("QONDUIT_CONFIG"):
            raise ConfigInvalid(f"{path}: {error.strerror or error}") from None
        text = ""
    return parse(text, path)


def parse(text: str, path: Path) -> Configuration:
    """Read the text of a configuration file.

    Raises:
        ConfigInvalid: the text is not valid; the message contains path, line and key.
    """
    if not text:
        return Configuration(path, {})
    import tomllib

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path}: not valid TOML: {error}") from None
    reader = _Reader(path, text)
    reader.check_keys((), content, ("default", "servers"))
    servers = {
        name: _server(reader, name, reader.table(("servers", name), table))
        for name, table in reader.table(("servers",), content.get("servers", {})).items()
    }
    default = reader.value((), content, "default", str, None)
    if default is not None and default not in servers:
        known = ", ".join(servers) or "none"
        raise reader.error(("default",), f"must be a name in [servers] ({known}), got {default!r}")
    return Configuration(path, servers, default)


def resolve(target: str | NamedServer | None) -> NamedServer | str:
    """Return the server of a client: a named one, or an address.

    A target with a port, a dot or a slash is always an address. Any other target is a name if the configuration file
    contains it, else a host name.

    Args:
        target: the argument of the client; by default QONDUIT_SERVER, then the default of the configuration file.

    Raises:
        ConfigInvalid: the configuration file is required and not valid.
    """
    if isinstance(target, NamedServer):
        return target
    target = target or os.environ.get("QONDUIT_SERVER")
    if not target:
        configuration = read_configuration()
        return DEFAULT_TARGET if configuration.default is None else configuration.server()
    return read_configuration().servers.get(target, target) if is_name(target) else target


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a server, and no address of a loopback."""
    return bool(_NAME.fullmatch(text)) and not is_loopback(text.lower())


def is_project_name(text: str) -> bool:
    """Return whether a text can be the name of a project."""
    return bool(_PROJECT.fullmatch(text))


def _read(path: Path) -> str:
    with path.open("rb") as opened:
        about = os.fstat(opened.fileno())
        if stat.S_ISREG(about.st_mode) and about.st_mode & 0o002:
            # A user who can write it chooses where tokens are sent.
            raise ConfigInvalid(f"{path}: other users can change this file: run `chmod o-w {path}`")
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigInvalid(f"{path}: larger than {MOST_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(f"{path}, line {line}: not valid UTF-8") from None


def _server(reader: _Reader, name: str, table: Mapping[str, Any]) -> NamedServer:
    where = ("servers", name)
    if not is_name(name):
        raise reader.error(
            where,
            "a name consists of 1 to 63 letters, digits, '-' and '_', begins with a letter and is not localhost, "
            f"got {name!r:.100}",
        )
    reader.check_keys(where, table, _KEYS)
    target = reader.value(where, table, "target", str, "")
    if not target:
        raise reader.error((*where, "target"), "is required: HOST:PORT")
    try:
        target = with_port(target)
    except ValueError as error:
        raise reader.error((*where, "target"), str(error).replace("tls=True", "tls = true")) from None
    tls: bool | str | Path | None = reader.value(where, table, "tls", (bool, str), None)
    if isinstance(tls, str):
        tls = reader.file((*where, "tls"), tls)
    token_file = reader.value(where, table, "token_file", str, None)
    if token_file is not None and "oidc" in table:
        raise reader.error((*where, "token_file"), "excludes [oidc]: remove one of them")
    project = reader.value(where, table, "project", str, "")
    if project and not is_project_name(project):
        raise reader.error((*where, "project"), f"{PROJECT_RULE}, got {project!r:.100}")
    return NamedServer(
        name,
        target,
        tls,
        None if token_file is None else reader.file((*where, "token_file"), token_file),
        _oidc(reader, (*where, "oidc"), table["oidc"]) if "oidc" in table else None,
        project,
        reader.path,
    )


def _oidc(reader: _Reader, where: tuple[str, ...], found: object) -> OidcClient:
    table = reader.table(where, found)
    reader.check_keys(where, table, _OIDC_KEYS)
    values = {key: reader.value(where, table, key, str, None) for key in _OIDC_KEYS}
    for key in ("issuer", "client_id"):
        if not values[key]:
            raise reader.error((*where, key), "is required")
    given = {key: value.strip() for key, value in values.items() if value is not None}
    try:
        check_url(given["issuer"])
    except ValueError as error:
        raise reader.error((*where, "issuer"), str(error)) from None
    return OidcClient(**given)


class _Reader:
    """Reads typed values of the file, and reports errors with its path, line and key."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.splitlines()

    def error(self, key: tuple[str, ...], problem: str) -> ConfigInvalid:
        """Return the error of a key."""
        line = line_of(self._lines, key)
        where = f"{self.path}, line {line}" if line else f"{self.path}"
        return ConfigInvalid(f"{where}: {'.'.join(key)}: {problem}")

    def table(self, key: tuple[str, ...], value: object) -> Mapping[str, Any]:
        """Check that a value is a table."""
        if not isinstance(value, dict):
            raise self.error(key, f"must be a table, got {_described(value)}")
        return value

    def check_keys(self, where: tuple[str, ...], table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """Reject unknown keys: one that is misspelt must not be ignored."""
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key[:100], known, n=1)
                meant = f"; did you mean {close[0]!r}?" if close else ""
                raise self.error((*where, key), f"unknown key (allowed: {', '.join(known)}){meant}")

    def value(
        self,
        where: tuple[str, ...],
        table: Mapping[str, Any],
        key: str,
        kind: type[_Value] | tuple[type[_Value], ...],
        otherwise: _Value | None,
    ) -> Any:
        """Return a value of the given type."""
        if key not in table:
            return otherwise
        value = table[key]
        if not isinstance(value, kind):
            allowed = "true, false or the path of a CA bundle" if isinstance(kind, tuple) else "a string"
            raise self.error((*where, key), f"must be {allowed}, got {_described(value)}")
        return value

    def file(self, key: tuple[str, ...], text: str) -> Path:
        """Return the path of a file, relative to the folder of the configuration file."""
        if not text:
            raise self.error(key, "must be the path of a file, got ''")
        return self.path.parent / Path(text).expanduser()


def _described(value: object) -> str:
    names = {dict: "a table", list: "a list", bool: str(value).lower()}
    return names.get(type(value)) or f"{value!r:.100}"
