# SPDX-License-Identifier: Apache-2.0
"""The pauses of the dispatcher's threads before they retry a database operation."""

from __future__ import annotations

from typing import Final

_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


def retry_pause(failures: int) -> float:
    """Return the seconds to wait after a number of consecutive failures, at least one."""
    return _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
