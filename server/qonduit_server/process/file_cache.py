# SPDX-License-Identifier: Apache-2.0
"""A cache of bytes in a directory, shared by all workers, later server runs, and the machines that mount it.

The name of a file is a hash of all that its contents depend on. So entries are never stale; those of other versions are
evicted in time. Files are written to a temporary name and renamed, contain their own hash, and are evicted least
recently used first when their total size exceeds the limit. Files that another user wrote, or could write, are ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_HASH: Final = hashlib.sha256
_HASH_BYTES: Final = 32
#: Number of writes between checks of the cache's size.
_LOOK_EVERY: Final = 32
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class FileCache:
    """Caches bytes in a directory. A file error only causes a cache miss.

    Args:
        folder: created if missing, with access for its owner only.
        most_bytes: maximum total size of the files.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._writes = 0

    def get(self, key: str) -> bytes | None:
        """Return the entry of a key, a hash in hexadecimal digits, and mark it as recently used."""
        path = self._path(key)
        try:
            data = self._read(path)
        except OSError:
            return None
        if _HASH(data[_HASH_BYTES:]).digest() != data[:_HASH_BYTES]:
            self.drop(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data[_HASH_BYTES:]

    def put(self, key: str, body: bytes) -> None:
        """Store an entry, unless it is larger than an eighth of the cache."""
        path = self._path(key)
        if len(body) + _HASH_BYTES > self._most_file_bytes:
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
                _unlink(Path(name))
                raise
            if self._writes % _LOOK_EVERY == 0:
                self._tidy()
            self._writes += 1

    def drop(self, key: str) -> None:
        """Remove an entry."""
        _unlink(self._path(key))

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
            _unlink(path)
            size -= each
            if size <= self._most_bytes * 0.9:
                return


@dataclass(frozen=True)
class CacheEntry:
    """The place of one entry, for code that does not know what its key depends on."""

    cache: FileCache
    key: str

    def get(self) -> bytes | None:
        """Return the bytes; None without a file."""
        return self.cache.get(self.key)

    def put(self, body: bytes) -> None:
        """Store the bytes."""
        self.cache.put(self.key, body)

    def drop(self) -> None:
        """Remove the bytes."""
        self.cache.drop(self.key)


def code_version(libraries: Iterable[str], folders: Iterable[Path]) -> str:
    """Return a hash of the versions of libraries and of the Python files in folders.

    It is the same on all machines with this release, whenever it was installed there.
    """
    about = []
    for library in libraries:
        with contextlib.suppress(PackageNotFoundError):
            about.append(f"{library} {version(library)}")
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        about.append(f"{path.name} {_HASH(path.read_bytes()).hexdigest()}")
    return _HASH("\n".join(about).encode()).hexdigest()


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
