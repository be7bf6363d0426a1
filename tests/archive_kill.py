# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.archive_kill URL FOLDER BEFORE POINT`: a sweep that is killed at a point of its second batch."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from qonduit_client.cli.as_json import as_dict
from qonduit_server.store.admin import retention
from qonduit_server.store.admin.archive import Archive
from qonduit_server.store.admin.archived_objects import Archiver
from qonduit_server.store.database import open_database
from qonduit_server.store.jobs import deletion

#: The jobs of a batch.
BATCH = 10


def main() -> None:
    """Run the sweep."""
    url, folder, before, point = sys.argv[1:]
    deletion.MAX_DELETED = BATCH  # type: ignore[misc]
    db = open_database(url)
    jobs = syncs = deletions = 0

    def die(*, now: bool) -> None:
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(message: Message) -> dict[str, Any]:
        nonlocal jobs
        jobs += message.DESCRIPTOR.name == "Job"
        # Far enough into the batch that a part of it is in the file.
        die(now=point == "before the batch is complete" and jobs == 2 * BATCH)
        return as_dict(message)

    sync, write = os.fsync, db.write

    def fsync(file: int) -> None:
        nonlocal syncs
        syncs += 1
        # The first one is that of the folder with the new file.
        die(now=point == "before the sync" and syncs == 3)
        sync(file)

    def deleting(operation: Any, argument: Any) -> Any:
        nonlocal deletions
        deletions += 1
        die(now=point == "before the deletion" and deletions == 2)
        return write(operation, argument)

    os.fsync = fsync  # type: ignore[assignment]
    replaced: Callable[..., Any] = deleting
    db.write = replaced  # type: ignore[method-assign]
    retention.sweep(db, int(before), threading.Event(), Archiver(db, Archive(Path(folder)), counted))


if __name__ == "__main__":
    main()
