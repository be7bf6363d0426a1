# SPDX-License-Identifier: Apache-2.0
"""Whether a stream is written to in colours: NO_COLOR, FORCE_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM, and what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any


def wants_color(stream: IO[Any], environment: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what is written to a stream.

    The first that says something decides: NO_COLOR (not empty: never), FORCE_COLOR and CLICOLOR_FORCE (neither empty
    nor 0: always), CLICOLOR=0 and TERM=dumb (never); else a terminal is coloured, and anything else is not.
    """
    told = os.environ if environment is None else environment
    if told.get("NO_COLOR"):
        return False
    if any(told.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if told.get("CLICOLOR") == "0" or told.get("TERM") == "dumb":
        return False
    return stream.isatty()
