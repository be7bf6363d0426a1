# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.archive_limit FOLDER`: write three batches of an archive, of which the second exceeds a limit."""

from __future__ import annotations

import resource
import secrets
import signal
import sys
from pathlib import Path

from qonduit_server.store.admin.archive import Archive, ArchiveFailed

_LIMIT = 100_000


def main() -> None:
    """Write the batches."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
    archive = Archive(Path(sys.argv[1]))
    for number, size in enumerate((10, 2 * _LIMIT, 10), 1):
        try:
            with archive.batch() as write:
                write({"number": number, "data": secrets.token_hex(size)})
        except ArchiveFailed as error:
            print(error)
    archive.close_file()


if __name__ == "__main__":
    main()
