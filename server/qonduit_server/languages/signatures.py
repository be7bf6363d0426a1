# SPDX-License-Identifier: Apache-2.0
"""What the readers and writers of all languages take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

#: Values for the inputs of a program, by name, as JSON has them: numbers (whole ones are floats, too), Booleans, texts
#: of 0s and 1s, lists.
Inputs: TypeAlias = Mapping[str, object]

NO_INPUTS: Final[Inputs] = MappingProxyType({})


@dataclass(frozen=True)
class WriteResult:
    """A program in some language: text or, for binary languages, bytes; and what was changed or lost, for people."""

    source: str | bytes
    warnings: tuple[str, ...] = ()
