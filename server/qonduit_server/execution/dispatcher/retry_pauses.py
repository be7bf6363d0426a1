# SPDX-License-Identifier: Apache-2.0
"""How long threads of the dispatcher wait before they try the database again."""

from __future__ import annotations

from typing import Final

_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


def retry_pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row, at least one."""
    return _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
