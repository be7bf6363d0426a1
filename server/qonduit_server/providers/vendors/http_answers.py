# SPDX-License-Identifier: Apache-2.0
"""What answers over HTTP mean, for the vendors that have no other meaning of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

#: Statuses with which a vendor has certainly changed nothing.
REFUSALS: Final = frozenset((400, 402, 404, 405, 409, 410, 413, 415, 422))


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of the header Retry-After, which contains a number or a date; 0 if it contains neither.

    Args:
        headers: of the answer, in any case of letters. A date is one of the vendor's clock, whose time is `Date`.
    """
    found = {name.lower(): text for name, text in headers.items()}
    text = found.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, TypeError):
        return max(0.0, _time(text) - _now(found.get("date", "")))
    return 0.0


def _now(date: str) -> float:
    """Return the time of the clock that has set a header Date; that of this machine without one."""
    with suppress(ValueError, TypeError):
        return _time(date)
    return time.time()


def _time(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
