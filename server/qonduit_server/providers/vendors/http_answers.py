# SPDX-License-Identifier: Apache-2.0
"""What answers over HTTP mean, for the vendors that have no other meaning of their own."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

#: Statuses with which a vendor has certainly changed nothing.
REFUSALS: Final = frozenset((400, 402, 404, 405, 409, 410, 413, 415, 422))


def retry_after(text: str) -> float:
    """Return the seconds of a header Retry-After, which contains a number or a date; 0 if it contains neither."""
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0
