# SPDX-License-Identifier: Apache-2.0
"""What the doctor says: one thing that was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        level: "ok"; "warning" (it works, and should be seen to); "error" (something does not work, or will be lost).
        what: how it is.
        how_to_mend: what to do about it; empty if there is nothing to do.
    """

    level: Literal["ok", "warning", "error"]
    what: str
    how_to_mend: str = ""
