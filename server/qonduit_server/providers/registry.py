# SPDX-License-Identifier: Apache-2.0
"""The registry of providers: built-in ones, and those of other packages.

Other packages register simulators in the entry point group `qonduit.providers`, and the devices of vendors in
`qonduit.remote_providers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from qonduit_server.errors import ProviderError
from qonduit_server.providers.provider import SimulatorProvider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from qonduit_server.providers.remote_provider import RemoteProvider

#: Name -> "module:class". A provider's module imports its SDK only in load().
PROVIDERS: Final[dict[str, str]] = {
    "IBM": "qonduit_server.providers.offered.ibm:IBM",
    "AWS": "qonduit_server.providers.offered.aws:AWS",
    "GOOGLE": "qonduit_server.providers.offered.google:Google",
    "STIM": "qonduit_server.providers.simulation.stim:Stim",
}
#: The same for vendors: classes of the protocol `RemoteProvider`.
REMOTE_PROVIDERS: Final[dict[str, str]] = {
    "IBM": "qonduit_server.providers.vendors.ibm_machines:IBMMachines",
    "IONQ": "qonduit_server.providers.vendors.ionq:IonQ",
    "IQM": "qonduit_server.providers.vendors.iqm:IQM",
    "GOOGLE": "qonduit_server.providers.vendors.google_engine:GoogleEngine",
    "AWS": "qonduit_server.providers.vendors.braket_cloud:BraketCloud",
    "RIGETTI": "qonduit_server.providers.vendors.rigetti:Rigetti",
}
#: The entry point groups of providers from other distributions; an entry's name is the provider's name.
GROUP: Final = "qonduit.providers"
REMOTE_GROUP: Final = "qonduit.remote_providers"


def names() -> tuple[str, ...]:
    """Return the names of all providers, built-in ones first, without importing them."""
    return tuple(dict.fromkeys((*PROVIDERS, *_entries(GROUP), *remote_names())))


def remote_names() -> tuple[str, ...]:
    """Return the names of the providers that have devices at a vendor, without importing them."""
    return tuple(
        dict.fromkeys((*REMOTE_PROVIDERS, *(name for name in _entries(REMOTE_GROUP) if name not in PROVIDERS)))
    )


def get(name: str) -> SimulatorProvider:
    """Make a provider, for workers. One of both kinds has the devices of both.

    Raises:
        ProviderError: no provider has that name, or its module cannot be imported.
    """
    is_builtin = name in PROVIDERS
    is_remote = name in REMOTE_PROVIDERS or (not is_builtin and name in _entries(REMOTE_GROUP))
    simulators: SimulatorProvider | None = None
    if is_builtin or not is_remote or name in _entries(GROUP):
        simulators = _made(PROVIDERS, GROUP, name)
    if not is_remote:
        assert simulators is not None
        return simulators
    from qonduit_server.providers.remote_devices import RemoteDevices

    devices = RemoteDevices(get_remote(name))
    if simulators is None:
        return devices
    from qonduit_server.providers.composite import CompositeProvider

    return CompositeProvider(name, simulators, devices)


def get_remote(name: str) -> RemoteProvider:
    """Make a provider of a vendor's devices. Raises ProviderError as `get`."""
    provider: RemoteProvider = _made(REMOTE_PROVIDERS, REMOTE_GROUP, name)
    return provider


def _made(builtin: Mapping[str, str], group: str, name: str) -> Any:
    """Make a provider: a built-in one, or that of an entry point."""
    if name in builtin:
        module, _, attribute = builtin[name].partition(":")
        return getattr(import_module(module), attribute)()
    entry = _entries(group).get(name)
    if entry is None:
        raise ProviderError("UNKNOWN_PROVIDER", f"there is no provider {name}; known are {', '.join(names())}")
    try:
        return entry.load()()
    except ImportError as error:
        raise ProviderError(
            "PROVIDER_BROKEN", f"provider {name}, announced as {entry.value}, cannot be imported: {error}"
        ) from error


def _entries(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # which processes of built-in providers do without

    return {entry.name: entry for entry in entry_points(group=group)}
