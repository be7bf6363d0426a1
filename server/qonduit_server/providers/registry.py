# SPDX-License-Identifier: Apache-2.0
"""The registry of providers: built-in ones, and third parties' by the entry point group `qonduit.providers`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from qonduit_server.errors import ProviderError
from qonduit_server.providers.provider import SimulatorProvider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Name -> "module:class". A provider's module imports its SDK only in load().
PROVIDERS: Final[dict[str, str]] = {
    "IBM": "qonduit_server.providers.ibm:IBM",
    "AWS": "qonduit_server.providers.aws:AWS",
    "GOOGLE": "qonduit_server.providers.google:Google",
    "STIM": "qonduit_server.providers.stim:Stim",
}
#: The entry point group of providers from other distributions; an entry's name is the provider's name.
GROUP: Final = "qonduit.providers"


def names() -> tuple[str, ...]:
    """Return the names of all providers, built-in ones first, without importing them."""
    return (*PROVIDERS, *(name for name in _others() if name not in PROVIDERS))


def get(name: str) -> SimulatorProvider:
    """Make a provider.

    Raises:
        ProviderError: no provider has that name, or its module cannot be imported.
    """
    if name in PROVIDERS:
        module, _, attribute = PROVIDERS[name].partition(":")
        provider: SimulatorProvider = getattr(import_module(module), attribute)()
        return provider
    entry = _others().get(name)
    if entry is None:
        raise ProviderError("UNKNOWN_PROVIDER", f"there is no provider {name}; known are {', '.join(names())}")
    try:
        found: SimulatorProvider = entry.load()()
    except ImportError as error:
        raise ProviderError(
            "PROVIDER_BROKEN", f"provider {name}, announced as {entry.value}, cannot be imported: {error}"
        ) from error
    return found


def _others() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # which processes of built-in providers do without

    return {entry.name: entry for entry in entry_points(group=GROUP)}
