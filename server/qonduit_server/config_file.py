# SPDX-License-Identifier: Apache-2.0
"""The configuration file of a server: TOML whose keys are the names of the settings.

    listen = "0.0.0.0:50051"
    providers = ["IBM", "AWS"]

    [default_quotas]
    queued_jobs = 1000

The file is that of `--config`, else `$QONDUIT_SERVER_CONFIG`, else `~/.config/qonduit/server.toml` (or in
`$XDG_CONFIG_HOME`), else `/etc/qonduit/server.toml`. The last two need not exist.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qonduit_client.named_servers import base_folder
from qonduit_client.toml_lines import line_of
from qonduit_server.errors import StartError
from qonduit_server.setting_values import from_toml, redacted, settings_by_name

VARIABLE: Final = "QONDUIT_SERVER_CONFIG"
SYSTEM_FILE: Final = Path("/etc/qonduit/server.toml")
_MAX_BYTES: Final = 1024 * 1024
_OPEN_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IRWXO


@dataclass(frozen=True)
class ConfigFile:
    """The settings of a file.

    Attributes:
        path: the file; None without one.
        values: the values of the settings that it contains.
        lines: the line of each.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


def default_path() -> Path | None:
    """Return the first default file that exists; None without one."""
    folder = base_folder("XDG_CONFIG_HOME", ".config")
    own = [] if folder is None else [folder / "qonduit" / "server.toml"]
    # A file that this user cannot read is found as well: a server must not silently run without its settings.
    return next((path for path in (*own, SYSTEM_FILE) if os.path.lexists(path)), None)


def read(path: Path | None) -> ConfigFile:
    """Read a file.

    Raises:
        StartError: the file cannot be read, other users may change it or read a secret in it, or a key or a value is
            not allowed; the message contains the path, and the line and the key if there is one.
    """
    if path is None:
        return ConfigFile()
    text, mode = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StartError(f"{path}: not valid TOML: {error}") from None
    lines = text.splitlines()
    values = {}
    for name, value in content.items():
        line = line_of(lines, (name,))
        where = f"{path}, line {line}: {name}" if line else f"{path}: {name}"
        setting = settings_by_name().get(name)
        if setting is None:
            raise StartError(f"{where}: {_unknown(name)}")
        try:
            values[name] = from_toml(setting, value, path.absolute().parent)
        except ValueError as error:
            raise StartError(f"{where}: {error}") from None
        if isinstance(value, str) and redacted(setting, value) != value and mode & _OPEN_TO_OTHERS:
            raise StartError(f"{where}: contains a password, and other users can read or change it: `chmod 600 {path}`")
    return ConfigFile(path, values, {name: line_of(lines, (name,)) for name in values})


def _read(path: Path) -> tuple[str, int]:
    """Return the text of a file, and its mode if it is a regular file."""
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise StartError(
            f"cannot read the configuration file {path}: {error.strerror} (--config, {VARIABLE}; /dev/null is an "
            "empty file)"
        ) from error
    if not stat.S_ISREG(mode):
        mode = 0
    if mode & stat.S_IWOTH:
        # A setting names programs that the server starts.
        raise StartError(f"{path}: other users can change this file: `chmod o-w {path}`")
    if len(content) > _MAX_BYTES:
        raise StartError(f"{path} must have at most {_MAX_BYTES} bytes")
    try:
        return content.decode(), mode
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StartError(f"{path}, line {line}: not valid UTF-8") from None


def _unknown(name: str) -> str:
    known = settings_by_name()
    for setting in known.values():
        if setting.metadata.get("formerly") == name:
            return f"was renamed: use {setting.name}"
    close = difflib.get_close_matches(name[:100].replace("-", "_").lower(), known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"is not a setting{meant} `qonduit serve --help` lists all"
