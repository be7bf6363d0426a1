# SPDX-License-Identifier: Apache-2.0
"""Times of the command line: a duration from now, or a date and time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION: Final = re.compile(rf"([0-9]{{1,6}})([{''.join(_UNITS)}])")


def duration_of(text: str) -> timedelta | None:
    """Return a duration (30m, 12h, 7d); None if the text is not one."""
    found = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def time_of(text: str, direction: int) -> datetime:
    """Return a time in UTC.

    Args:
        text: a duration (30m, 12h, 7d), or a time (2026-01-31, 2026-01-31T12:00:00Z); without a zone it is local.
        direction: 1 for a duration after now, -1 for one before.

    Raises:
        ValueError: the text is neither.
    """
    try:
        if (duration := duration_of(text)) is not None:
            return datetime.now(UTC) + direction * duration
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"expected a duration such as 30m, 12h or 7d, or a time such as 2026-01-31T12:00:00Z, got {text!r}"
        ) from None
