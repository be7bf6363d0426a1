# SPDX-License-Identifier: Apache-2.0
"""The hashes of the counts of the locked versions, in the repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Hashes by device and program.
Hashes = Mapping[str, Mapping[str, str]]

COUNTS: Final = Path(__file__).with_name("counts.json")


def stored() -> Hashes:
    """Return the stored hashes."""
    found: Hashes = json.loads(COUNTS.read_text())
    return found
