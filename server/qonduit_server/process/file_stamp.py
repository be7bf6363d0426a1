# SPDX-License-Identifier: Apache-2.0
"""The stamp of a file: it differs after each change, so that a file is read again only then."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

#: Modification time in nanoseconds, size and inode; None for a file that cannot be read.
Stamp: TypeAlias = tuple[int, int, int] | None


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
