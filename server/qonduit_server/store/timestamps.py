# SPDX-License-Identifier: Apache-2.0
"""Conversion between column values (microseconds since 1970, UTC) and Timestamp messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def set_time(timestamp: Timestamp, microseconds: int) -> None:
    """Set a Timestamp, many times faster than Timestamp.FromMicroseconds."""
    timestamp.seconds, rest = divmod(microseconds, 1_000_000)
    timestamp.nanos = rest * 1000


def microseconds(timestamp: Timestamp) -> int:
    """Return a Timestamp in microseconds since 1970, as columns hold it."""
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1000
