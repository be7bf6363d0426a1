# SPDX-License-Identifier: Apache-2.0
"""Files with secrets: read only if no other user can read them, written atomically with mode 0600."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

#: Bytes that are read of a file with a token.
MOST_BYTES: Final = 256 * 1024


def read_private(file: Path) -> str:
    """Return the text of a file with a secret.

    Raises:
        PermissionError: other users can read or write the file, or another user owns it.
        OSError: the file cannot be read.
        ValueError: the file is no regular text file, or too large.
    """
    with file.open("rb") as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{file} is not a regular file")
        if about.st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{file} contains a secret and belongs to another user (uid {about.st_uid})")
        if about.st_mode & 0o077:
            mode = f"mode {stat.S_IMODE(about.st_mode):04o}"
            raise PermissionError(f"other users have access to {file} ({mode}): run `chmod 600 {file}`")
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{file} is larger than {MOST_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file") from None


def write_private(file: Path, text: str) -> None:
    """Replace a file atomically with one of mode 0600; create its folder with mode 0700.

    Raises:
        OSError: the file cannot be written.
    """
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file")  # a device such as /dev/null must not be replaced
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{file.name}.")  # has mode 0600
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
