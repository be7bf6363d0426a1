# SPDX-License-Identifier: Apache-2.0
"""The cache of Numba in a program, which cannot write files. Numba imports this module (NUMBA_CACHE_LOCATOR_CLASSES).

Without it, the import of a package with cached functions fails, as of Braket.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_caching: Any = import_module("numba.core.caching")
# Compiled code cannot be stored.
_caching.Cache.save_overload = lambda *_: None


class ReadOnlyLocator(_caching.UserProvidedCacheLocator):  # type: ignore[misc]
    """Finds the cache of a function in NUMBA_CACHE_DIR, whether it is writable or not."""

    def ensure_cache_path(self) -> None:
        """Do nothing: a folder that is missing is an empty cache."""
