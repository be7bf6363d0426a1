# SPDX-License-Identifier: Apache-2.0
"""The translation cache: IR circuits of slowly read programs on disk, shared by all workers and later server runs.

Several machines may share the folder. A file stores one program. Its name is the hash of all inputs of reading: the
source, its language, its inputs, the versions of the libraries and of the readers, and the owner of the program. So no
caller can observe that another one has an equal program. Entries are therefore never stale; files of other versions are
evicted in time. Files are written to a temporary name and renamed, contain their own hash, and are evicted least
recently used first when their total size exceeds the limit. Files that another user wrote, or could write, are ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from qonduit_client.distribution import DISTRIBUTION
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.signatures import Inputs

#: Distributions that read programs, beside this package.
_LIBRARIES: Final = ("qiskit", "openqasm3", "antlr4-python3-runtime", "quil", "numpy", DISTRIBUTION)
_HASH: Final = hashlib.sha256
_HASH_BYTES: Final = 32
#: Number of writes between checks of the cache's size.
_LOOK_EVERY: Final = 32
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class TranslationCache:
    """Caches programs in a directory. A file error only causes a cache miss.

    Args:
        folder: created if missing, with access for its owner only.
        most_bytes: maximum total size of the files.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._readers = readers_version()
        self._writes = 0

    def key(self, language: int, source: str | bytes, inputs: Inputs, more: str = "", scope: str = "") -> str:
        """Return the cache key of a program.

        Args:
            language: its language.
            source: its source.
            inputs: values of its inputs.
            more: further inputs of reading.
            scope: names the owner of the program; other owners have other entries.
        """
        about = json.dumps([self._readers, language, isinstance(source, str), inputs, more, scope], sort_keys=True)
        return _HASH(about.encode() + b"\0" + (source.encode() if isinstance(source, str) else source)).hexdigest()

    def get(self, key: str) -> Circuit | None:
        """Return the entry of a key and mark it as recently used."""
        path = self._path(key)
        try:
            data = self._read(path)
        except OSError:
            return None
        if _HASH(data[_HASH_BYTES:]).digest() != data[:_HASH_BYTES]:
            self._drop(path)
            return None
        try:
            circuit = serialization.load(data[_HASH_BYTES:])
        except Exception:  # noqa: BLE001 - Qiskit may raise anything, and the program can be read instead
            self._drop(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return circuit

    def put(self, key: str, circuit: Circuit) -> None:
        """Store a program."""
        body = serialization.dump(circuit)
        path = self._path(key)
        if body is None or len(body) + _HASH_BYTES > self._most_file_bytes:
            return
        with contextlib.suppress(OSError):
            for folder in (self._folder, path.parent):
                # With `parents` alone the parent directories would be accessible to others.
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as aside:
                    aside.write(_HASH(body).digest() + body)
                Path(name).replace(path)
            except OSError:
                self._drop(Path(name))
                raise
            if self._writes % _LOOK_EVERY == 0:
                self._tidy()
            self._writes += 1

    @property
    def _most_file_bytes(self) -> int:
        return self._most_bytes // 8

    def _read(self, path: Path) -> bytes:
        """Return the bytes of a file that only this user can have written. Raises OSError."""
        # Without O_NONBLOCK, the open of a FIFO would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise OSError(f"{path} is not a regular file")
            if state.st_uid != os.geteuid() or state.st_mode & _WRITABLE_BY_OTHERS:
                raise PermissionError(f"{path} may have been written by another user")
            if state.st_size > self._most_file_bytes:
                raise OSError(f"{path} is too large")
            return file.read(self._most_file_bytes)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:]

    def _tidy(self) -> None:
        """Remove the least recently used files until a tenth is free; other processes may do the same."""
        files: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        size = sum(each for _, each, _ in files)
        if size <= self._most_bytes:
            return
        for _, each, path in sorted(files):
            self._drop(path)
            size -= each
            if size <= self._most_bytes * 0.9:
                return

    def _drop(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def readers_version() -> str:
    """Return a hash of the environment: versions of libraries, and the files of readers and IR.

    It is the same on all machines with this release, whenever it was installed there.
    """
    about = [f"format {serialization.FORMAT}"]
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            about.append(f"{library} {version(library)}")
    rooms = Path(__file__).parent, Path(serialization.__file__).parent
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        about.append(f"{path.name} {_HASH(path.read_bytes()).hexdigest()}")
    return _HASH("\n".join(about).encode()).hexdigest()
