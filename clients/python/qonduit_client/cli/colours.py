# SPDX-License-Identifier: Apache-2.0
"""Decide on coloured output from NO_COLOR, FORCE_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM and the kind of stream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any


def wants_color(stream: IO[Any], environment: Mapping[str, str] | None = None) -> bool:
    """Return whether output to a stream is coloured.

    The first variable that is set decides: NO_COLOR (not empty: never), FORCE_COLOR or CLICOLOR_FORCE (neither empty
    nor 0: always), CLICOLOR=0 or TERM=dumb (never). Otherwise, only terminals get colours.
    """
    variables = os.environ if environment is None else environment
    if variables.get("NO_COLOR"):
        return False
    if any(variables.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if variables.get("CLICOLOR") == "0" or variables.get("TERM") == "dumb":
        return False
    return stream.isatty()
