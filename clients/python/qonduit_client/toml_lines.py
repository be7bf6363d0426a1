# SPDX-License-Identifier: Apache-2.0
"""The lines of keys in a TOML file, for messages: the parser of the standard library does not return them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def line_of(lines: Sequence[str], key: tuple[str, ...]) -> int:
    """Return the line of a key or table, or 0 if it has another form than `[table]` and `key = value`."""
    table: tuple[str, ...] = ()
    nearest = 0
    for number, line in enumerate(lines, 1):
        if header := header_of(line):
            table = header
            if table == key:
                return number
            if table == key[:-1]:
                nearest = number
        elif table == key[:-1] and re.match(rf"\s*[\"']?{re.escape(key[-1])}[\"']?\s*=", line):
            return number
    return nearest


def header_of(line: str) -> tuple[str, ...] | None:
    """Return the name of the table that a line `[table.name]` begins, or None."""
    match = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?", line.rstrip("\n"))
    return tuple(part.strip().strip("\"'") for part in match[1].split(".")) if match else None
