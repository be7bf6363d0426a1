# SPDX-License-Identifier: Apache-2.0
"""The keys of the server that encrypt secrets, from a file or an environment variable.

Each line contains the id of a key and the key, 32 bytes in base64. The first key encrypts, all keys decrypt. A line
that begins with # is a comment.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
import threading
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qonduit_server.errors import StartError
from qonduit_server.process.file_stamp import Stamp, stamp_of
from qonduit_server.process.whole_files import replace_file

#: The variable with the keys, for servers without a file. It is no setting: a setting is also an option of the command
#: line, which other users can read.
VARIABLE: Final = "QONDUIT_CREDENTIAL_KEYS"
KEY_BYTES: Final = 32
_SETTING: Final = "credential_key_file"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_FILE_BYTES: Final = 64 * 1024
_OPEN_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IRWXO


@dataclass(frozen=True)
class Key:
    """A key; its id stands with each value that it encrypts."""

    id: str
    secret: bytes = field(repr=False)


class KeyRing:
    """The current keys.

    A file is read again after it changed, so that keys can be added and removed while the server runs. While it cannot
    be read or is invalid, the previous keys remain.

    Args:
        path: the file; None for fixed keys.
        keys: the fixed keys.
        setting: the setting that names the file, for messages.

    Raises:
        StartError: the file cannot be used.
    """

    def __init__(self, path: Path | None = None, keys: Sequence[Key] = (), *, setting: str = _SETTING) -> None:
        self._path = path
        self._setting = setting
        self._lock = threading.Lock()
        self._stamp: Stamp = None
        self._keys = tuple(keys)
        if path is not None:
            self._stamp = stamp_of(path)
            self._keys = read(path, setting)

    def keys(self) -> tuple[Key, ...]:
        """Return all keys; the first one encrypts. Empty if the server has none."""
        path = self._path
        if path is not None and stamp_of(path) != self._stamp:
            with self._lock:
                # Taken before the read: a change during the read has another stamp, and is read by the next call.
                stamp = stamp_of(path)
                if stamp != self._stamp:
                    with suppress(StartError):
                        self._keys = read(path, self._setting)
                    self._stamp = stamp
        return self._keys

    def find(self, key_id: str) -> Key | None:
        """Return a key by its id."""
        return next((key for key in self.keys() if key.id == key_id), None)


def load(path: str, environment: MutableMapping[str, str]) -> KeyRing:
    """Return the keys of a file or of the variable `QONDUIT_CREDENTIAL_KEYS`; without both, an empty ring.

    The variable is removed from the environment, so that processes that start later do not inherit it.

    Raises:
        StartError: both are set, or the keys are invalid.
    """
    text = environment.pop(VARIABLE, "")
    if path and text:
        raise StartError(f"credential_key_file and {VARIABLE} are both set: use one of them")
    if path:
        return KeyRing(Path(path))
    return KeyRing(keys=parse(re.sub(r"[,;]", "\n", text), VARIABLE) if text else ())


def read(path: Path, setting: str = _SETTING) -> tuple[Key, ...]:
    """Read a file of keys, which a setting names.

    Raises:
        StartError: the file cannot be read, is invalid, or is open to other users.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise StartError(
            f"{setting} {path} does not exist; create it with "
            f"`qonduit credential-key create --credential-key-file {path}`"
        ) from None
    except OSError as error:
        raise StartError(f"cannot read {setting} {path}: {error.strerror}") from error
    if mode & _OPEN_TO_OTHERS:
        raise StartError(f"other users can read or change {setting} {path}: `chmod 600 {path}`")
    if len(data) > _MAX_FILE_BYTES:
        raise StartError(f"{setting} {path} must have at most {_MAX_FILE_BYTES} bytes")
    return parse(data.decode(errors="replace"), f"{setting} {path}")


def parse(text: str, source: str) -> tuple[Key, ...]:
    """Return the keys of a text. Raises StartError, whose message names the line and contains no key."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key_id, _, encoded = line.strip().partition(" ")
        try:
            secret = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not _ID.fullmatch(key_id) or len(secret) != KEY_BYTES:
            raise StartError(f"{source}, line {number}: must be an id, a space, and {KEY_BYTES} bytes in base64")
        if any(key.id == key_id for key in keys):
            raise StartError(f"{source}, line {number}: two keys have the id {key_id}")
        keys.append(Key(key_id, secret))
    if not keys:
        raise StartError(f"{source} contains no key")
    return tuple(keys)


def create(path: Path, key_id: str) -> None:
    """Add a new random key as the first one, and create the file if it does not exist. Raises StartError."""
    keys = read(path) if path.exists() else ()
    if not _ID.fullmatch(key_id):
        raise StartError(f"the id of a key must be 1 to 63 letters, digits, '-', '_' or '.', got {key_id!r:.100}")
    if any(key.id == key_id for key in keys):
        raise StartError(f"credential_key_file {path} has a key {key_id} already; choose another id")
    _write(path, (Key(key_id, secrets.token_bytes(KEY_BYTES)), *keys))


def remove(path: Path, key_id: str) -> None:
    """Remove a key from the file. Raises StartError if there is no such key, or no other one."""
    keys = read(path)
    left = tuple(key for key in keys if key.id != key_id)
    if len(left) == len(keys):
        raise StartError(f"credential_key_file {path} has no key {key_id}; it has {', '.join(key.id for key in keys)}")
    if not left:
        raise StartError(f"{key_id} is the only key of credential_key_file {path}; create another one before")
    _write(path, left)


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = "".join(f"{key.id} {base64.b64encode(key.secret).decode()}\n" for key in keys)
    try:
        replace_file(path, text)
    except OSError as error:
        raise StartError(f"cannot write credential_key_file {path}: {error.strerror}") from error
