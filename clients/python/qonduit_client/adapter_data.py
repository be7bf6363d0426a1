# SPDX-License-Identifier: Apache-2.0
"""Data with which an adapter reads the results of its jobs again, stored with each job as `client_data`."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

from qonduit.v1.system_service_pb2 import ServerLimits

#: The server's limit of client data.
MAX_BYTES: Final = 1024**2
#: The limit of the data before they are compressed.
_MAX_TEXT_BYTES: Final = 64 * 1024**2


def packed(data: object, metadata: Sequence[object] = ()) -> bytes:
    """Return the client data of a job.

    Args:
        data: to read its results with; values of JSON, also with numbers of NumPy. Too large data are omitted: the
            job's results can then be read by its own object only.
        metadata: of each circuit; those that are no values of JSON, and too large ones, are omitted.
    """
    choices = [[data, [_kept(each) for each in metadata]], [data, []]] if any(metadata) else [[data, []]]
    for choice in choices:
        text = json.dumps(choice, separators=(",", ":"), default=lambda number: number.item())
        if len(text) <= _MAX_TEXT_BYTES and len(found := zlib.compress(text.encode())) <= MAX_BYTES:
            return found
    return b""


def unpacked(client_data: bytes) -> tuple[Any, list[Any]]:
    """Return the data of a job and the metadata of its circuits; (None, []) for a job without.

    Raises:
        ValueError: they are not those of an adapter.
    """
    if not client_data:
        return None, []
    try:
        data, metadata = json.loads(zlib.decompressobj().decompress(client_data, _MAX_TEXT_BYTES))
    except (zlib.error, ValueError, TypeError) as error:
        raise ValueError(f"the client data of the job are not those of an adapter: {error}") from error
    return data, metadata


def room(limits: ServerLimits) -> int:
    """Return the number of bytes for client data in the request of a job."""
    return min(MAX_BYTES, limits.max_request_bytes // 8)


def _kept(value: object) -> object:
    """Return a value if JSON keeps it as it is, else None."""
    try:
        return value if json.loads(json.dumps(value)) == value else None
    except (TypeError, ValueError):
        return None
