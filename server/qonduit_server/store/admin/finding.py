# SPDX-License-Identifier: Apache-2.0
"""A finding of the doctor: the result of one check, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: "ok"; "warning" (works, but needs attention); "error" (does not work, or data may be lost).
        what: the state that was found.
        how_to_mend: the fix; empty if none is needed.
    """

    level: Literal["ok", "warning", "error"]
    what: str
    how_to_mend: str = ""
