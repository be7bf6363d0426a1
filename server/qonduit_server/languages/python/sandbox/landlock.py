# SPDX-License-Identifier: Apache-2.0
"""File access of a source: a Landlock domain with a few readable directories and almost no writable ones."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from typing import Final

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER = 1, 1 << 1, 1 << 2, 1 << 3
#: Rights that apply to directories only: listing, creating and removing entries, moving them to another directory.
_OF_FOLDERS: Final = 0b11_1111_1111_1000 & ~_EXECUTE
#: Number of file rights in each ABI version of Landlock: 2 adds moving, 3 truncating, 5 devices.
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_RIGHTS: Final = 16
_NETWORK_SINCE, _BIND_AND_CONNECT = 4, 0b11
_SCOPES_SINCE, _SOCKETS_AND_SIGNALS = 6, 0b11


def edition() -> int:
    """Return the kernel's ABI version of Landlock; 0 if it has none."""
    known: int = _libc().syscall(_CREATE, None, 0, _VERSION)
    return max(0, known)


def restrict(readable: Iterable[str], writable: Iterable[str] = ()) -> None:
    """Restrict this thread, and those it starts later, to files beneath these paths, for good.

    The process must have no_new_privs. Missing paths are skipped. No file may be executed.

    Args:
        readable: paths that may be read.
        writable: paths whose files may be read, written, created and removed.

    Raises:
        OSError: the kernel has no Landlock, or a path cannot be reached.
    """
    libc = _libc()
    known = edition()
    if not known:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock, or it is switched off")
    rights = (1 << _RIGHTS.get(known, _LATEST_RIGHTS)) - 1
    handled = struct.pack("=Q", rights)
    if known >= _NETWORK_SINCE:
        handled += struct.pack("=Q", _BIND_AND_CONNECT)
    if known >= _SCOPES_SINCE:
        handled += struct.pack("=Q", _SOCKETS_AND_SIGNALS)
    rules = _call(libc, "landlock", _CREATE, handled, len(handled), 0)
    try:
        granted = dict.fromkeys(readable, _READ_FILE | _READ_FOLDER) | dict.fromkeys(writable, rights & ~_EXECUTE)
        for path, right in granted.items():
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                right &= -1 if os.path.isdir(path) else ~_OF_FOLDERS  # noqa: PTH112
                _call(libc, path, _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", right, place), 0)
            finally:
                os.close(place)
        _call(libc, "landlock", _RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(libc: ctypes.CDLL, what: str, *arguments: object) -> int:
    done: int = libc.syscall(*arguments)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return done
