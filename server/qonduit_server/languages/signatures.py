# SPDX-License-Identifier: Apache-2.0
"""The inputs that the readers of all languages take."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

#: JSON values for a program's inputs, by name: numbers (integers may be floats), Booleans, texts of 0s and 1s, lists.
Inputs: TypeAlias = Mapping[str, object]

NO_INPUTS: Final[Inputs] = MappingProxyType({})
#: No gate is kept whole for a noise model.
NO_NAMES: Final[frozenset[str]] = frozenset()
