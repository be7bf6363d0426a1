# SPDX-License-Identifier: Apache-2.0
"""Replace a file at once, so that a process that reads it never sees a part."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Replace the content of a file, which keeps its owner and mode; a new file has the mode 0600.

    Raises:
        OSError: the file cannot be written; it is unchanged.
    """
    copy = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            if path.exists():
                before = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                with suppress(PermissionError):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        copy.replace(path)
    except OSError:
        with suppress(OSError):
            copy.unlink()
        raise
