# SPDX-License-Identifier: Apache-2.0
"""The providers whose first device runs circuits of every kind, as the contract tests expect."""

from __future__ import annotations

from qonduit_server.providers import registry


def universal_providers() -> list[str]:
    """Return the names, sorted, of the built-in providers without those whose methods all run special circuits only."""
    return sorted(name for name in registry.PROVIDERS if _is_universal(name))


def _is_universal(name: str) -> bool:
    methods = registry.get(name).describe().devices[0].capabilities.methods
    return not methods or not all(method.clifford_only for method in methods)
