# SPDX-License-Identifier: Apache-2.0
"""The archive: a folder of files of JSON lines, to which retention writes objects before it deletes them.

A file consists of gzip members, one for each batch of records. A batch is on the disk when it ends, so a crash leaves
at most one incomplete member, at the end of a file that is never written again. `gzip`, `zcat` and DuckDB read files of
several members.

While a server writes a file, its name ends with `.part`, and the server holds a lock on it.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from qonduit_server.errors import StartError

#: A file is closed after the batch with which it reaches this size.
MAX_FILE_BYTES: Final = 256 * 1024**2
#: A batch needs this much free disk space when it begins: the database may be on the same disk.
RESERVED_BYTES: Final = 64 * 1024**2
_SUFFIX: Final = ".jsonl.gz"
_PART: Final = ".part"
#: Begins the name of a file that `erase` writes, and that replaces another one.
_REWRITTEN: Final = "."
#: Between speed and size: a server compresses while it works.
_LEVEL: Final = 4

Record: TypeAlias = Mapping[str, Any]


class ArchiveFailed(Exception):
    """The archive cannot be written. The objects that it lacks must not be deleted."""


class Archive:
    """Writes batches of records to files, each file up to a size. For one thread.

    Args:
        folder: where the files are; created if it does not exist.
        max_file_bytes: a file is closed after the batch with which it reaches this size.
        reserved_bytes: the free disk space that a batch needs when it begins.

    Raises:
        StartError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, max_file_bytes: int = MAX_FILE_BYTES, reserved_bytes: int = RESERVED_BYTES
    ) -> None:
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._reserved_bytes = reserved_bytes
        self._file: int | None = None
        self._path = folder
        #: The bytes that were written.
        self.written_bytes = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "it is not writable")
        except OSError as error:
            raise StartError(
                f"cannot use the folder {folder} of the archive: {error.strerror} (retention_archive)"
            ) from error

    @contextmanager
    def batch(self) -> Iterator[Callable[[Record], None]]:
        """Write a batch: within the block, call the value with each record. After the block, all are on the disk.

        Raises:
            ArchiveFailed: the batch cannot be written; nothing of it remains.
        """
        try:
            self._require_space()
            file = self._file if self._file is not None else self._open()
            begin = os.lseek(file, 0, os.SEEK_END)
            try:
                with _member(file) as write:
                    yield write
                os.fsync(file)
            except BaseException:
                self._undo(file, begin)
                raise
            size = os.lseek(file, 0, os.SEEK_END)
            self.written_bytes += size - begin
            if size >= self._max_file_bytes:
                self.close_file()
        except OSError as error:
            raise ArchiveFailed(
                f"cannot write the archive {self._folder}: {error.strerror}; nothing is deleted (retention_archive)"
            ) from error

    def close_file(self) -> None:
        """Close the current file, if there is one, and give it its final name.

        Raises:
            ArchiveFailed: the file cannot be renamed. It is complete.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            self._path.rename(self._path.with_suffix(""))
            _sync(self._folder)
        except OSError as error:
            raise ArchiveFailed(f"cannot rename {self._path}: {error.strerror}") from error
        finally:
            os.close(file)

    def _open(self) -> int:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        self._path = self._folder / f"jobs-{moment}-{secrets.token_hex(4)}{_SUFFIX}{_PART}"
        file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        _sync(self._folder)
        return file

    def _undo(self, file: int, size: int) -> None:
        """Remove what a failed batch has written. If that fails too, leave the file unfinished, and begin another."""
        try:
            os.ftruncate(file, size)
        except OSError:
            self._file = None
            os.close(file)
            raise

    def _require_space(self) -> None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if free < self._reserved_bytes:
            raise ArchiveFailed(
                f"cannot write the archive {self._folder}: its disk has {free} bytes free, and an archive leaves "
                f"{self._reserved_bytes} to others; nothing is deleted (retention_archive)"
            )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _member(file: int) -> Iterator[Callable[[Record], None]]:
    """Write a gzip member to the end of a file; call the value with each record."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def write(record: Record) -> None:
        _write_whole(file, packer.compress(json.dumps(record, ensure_ascii=False).encode() + b"\n"))

    yield write
    _write_whole(file, packer.flush())


def _write_whole(file: int, data: bytes) -> None:
    # A disk that is nearly full takes a part of the data without an error.
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def files_of(folder: Path) -> list[Path]:
    """Return the files of an archive: first those that a server writes or did not finish, then the others by age.

    If several files contain a job, it is complete in the last one.

    Raises:
        StartError: the folder cannot be read.
    """
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.name.endswith((_SUFFIX, _SUFFIX + _PART)) and not path.name.startswith(_REWRITTEN)
        ]
    except OSError as error:
        raise StartError(f"cannot read the archive {folder}: {error.strerror} (retention_archive)") from error
    return sorted(found, key=lambda path: (not path.name.endswith(_PART), path.name))


def records_of(path: Path, *, containing: Iterable[bytes] = ()) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, one in memory at a time.

    Args:
        path: the file. An incomplete end of a file whose name ends with ".part" is left out: those records were not
            deleted.
        containing: texts that a line contains, or it is passed over unread.

    Raises:
        StartError: the file cannot be read, or is damaged; all records before the damage are yielded.
    """
    wanted = tuple(containing)
    try:
        with _opened(path) as lines:
            for line in lines:
                if line.endswith(b"\n") and all(text in line for text in wanted):
                    yield json.loads(line)
    except (EOFError, zlib.error, gzip.BadGzipFile, json.JSONDecodeError) as error:
        if not path.name.endswith(_PART):
            raise StartError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error


def _opened(path: Path) -> gzip.GzipFile:
    try:
        return gzip.open(path, "rb")
    except FileNotFoundError:
        if not path.name.endswith(_PART):
            raise
        # Its server has finished it since the list was made.
        return gzip.open(path.with_suffix(""), "rb")


def erase(path: Path, owner: str) -> int:
    """Remove the records of an owner from a file; return their number.

    Raises:
        StartError: the file cannot be read or written, or a server writes it.
    """
    # The owner is tested after parsing: its JSON text may contain escapes.
    count = sum(1 for record in records_of(path) if record["owner"] == owner)
    if not count:
        return 0
    rewritten = path.with_name(_REWRITTEN + path.name)
    try:
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file = os.open(rewritten, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                with _member(file) as write:
                    for record in records_of(path):
                        if record["owner"] != owner:
                            write(record)
                os.fsync(file)
            finally:
                os.close(file)
            rewritten.replace(path)
            _sync(path.parent)
    except BlockingIOError as error:
        raise StartError(f"a server writes {path} now; run the command again after its sweep") from error
    except OSError as error:
        raise StartError(f"cannot rewrite {path}: {error.strerror}") from error
    finally:
        rewritten.unlink(missing_ok=True)
    return count
