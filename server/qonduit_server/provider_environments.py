# SPDX-License-Identifier: Apache-2.0
"""Environments of their own for the processes that call vendors, because vendors' SDKs exclude each other.

An environment contains the packages of a list with hashes, `provider_requirements/<name>.txt`, and links to the code of
this installation, so that a process has the server's version of the messages and of its provider. It needs neither the
readers of languages nor the server's Qiskit.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qonduit_server.environment_builds import build
from qonduit_server.errors import StartError

if TYPE_CHECKING:
    from qonduit_server.settings import Settings

#: The packages of this distribution that a process of a vendor imports.
_LINKED: Final = ("qonduit", "qonduit_client", "qonduit_server")
_LISTS: Final = Path(__file__).with_name("provider_requirements")
#: The copy of the list in an environment that is complete.
_INSTALLED: Final = "requirements.txt"


@dataclass(frozen=True)
class Environment:
    """The environment of a provider.

    Attributes:
        provider: the provider's name.
        folder: of the environment.
        state: "ready", "not installed", "outdated" (this version has another list) or "broken".
    """

    provider: str
    folder: Path
    state: str

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"


def available() -> tuple[str, ...]:
    """Return the names of the providers that have a list of packages."""
    return tuple(sorted(file.stem.upper() for file in _LISTS.glob("*.txt")))


def environments(folder: str) -> list[Environment]:
    """Return the environment of each provider that has a list, installed or not."""
    return [_environment(Path(folder), name) for name in available()]


def pythons(folder: str) -> Mapping[str, str]:
    """Return the Python of each installed environment by its provider; an outdated one is used until it is replaced."""
    return {each.provider: str(each.python) for each in environments(folder) if each.state in ("ready", "outdated")}


def offered_providers(settings: Settings) -> tuple[str, ...]:
    """Return the names of the providers to offer.

    By default, these are all registered ones; those that need an environment of their own only if they have one.
    """
    if settings.providers:
        return settings.providers
    from qonduit_server.providers import registry  # which the commands do without

    missing = set(available()) - vendor_pythons(settings).keys()
    return tuple(name for name in registry.names() if name not in missing)


def vendor_pythons(settings: Settings) -> dict[str, str]:
    """Return the Python of the processes that call a vendor, by provider: the settings, and installed environments."""
    return {**pythons(settings.provider_environments), **settings.vendor_python}


def _environment(folder: Path, provider: str) -> Environment:
    found = Environment(provider, folder / provider.lower(), "not installed")
    try:
        installed = (found.folder / _INSTALLED).read_bytes()
    except OSError:
        return found
    # After the server has moved, the links could lead to another version.
    if not os.access(found.python, os.X_OK) or any(link.resolve() != _package(link.name) for link in _links(found)):
        return Environment(provider, found.folder, "broken")
    current = sha256(installed).digest() == sha256(_list(provider).read_bytes()).digest()
    return Environment(provider, found.folder, "ready" if current else "outdated")


def _links(environment: Environment) -> Iterator[Path]:
    """Yield the paths of the links to this installation."""
    packages = next(environment.folder.glob("lib/python3*/site-packages"), environment.folder)
    return (packages / name for name in _LINKED)


def _list(provider: str) -> Path:
    return _LISTS / f"{provider.lower()}.txt"


def install(folder: str, provider: str, report: Callable[[str], None] = lambda line: None) -> Environment:
    """Build the environment of a provider with uv, or else with venv and pip, and replace an earlier one.

    A process that uses the earlier one ends at its next import at worst; the server then starts another one.

    Args:
        folder: of all environments.
        provider: the provider's name.
        report: receives each step.

    Raises:
        StartError: there is no list for the provider, or a step failed: the earlier environment is unchanged.
    """
    if provider not in available():
        raise StartError(f"{provider} needs no environment of its own; those that do: {', '.join(available())}")
    base, wanted = Path(folder), _environment(Path(folder), provider)
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _new_folder(base, wanted.folder.name) as new:
            _build(new, _list(provider), report)
            shutil.copyfile(_list(provider), new / _INSTALLED)
            old = base / f".{wanted.folder.name}-{uuid.uuid4().hex}"
            if wanted.folder.exists():
                wanted.folder.rename(old)
            new.rename(wanted.folder)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StartError(f"the environment of {provider} cannot be built in {base}: {error}") from error
    return _environment(base, provider)


@contextmanager
def _new_folder(base: Path, name: str) -> Iterator[Path]:
    """Yield the path of a folder that does not exist, and remove it if it exists afterwards."""
    new = base / f".{name}-{uuid.uuid4().hex}"
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _build(new: Path, requirements: Path, report: Callable[[str], None]) -> None:
    """Build an environment, without the paths of its own folder in its files: it moves afterwards."""
    build(new, requirements, report)
    for link in _links(Environment("", new, "")):
        link.symlink_to(_package(link.name), target_is_directory=True)


def _package(name: str) -> Path:
    """Return the folder of a package of this installation."""
    # `qonduit` has no file of its own, so that another distribution could have a part of it.
    own = {"qonduit": "qonduit.execution"}.get(name, name)
    spec = find_spec(own)
    if spec is None or not spec.submodule_search_locations:
        raise StartError(f"the package {name} of this installation cannot be found")
    found = Path(next(iter(spec.submodule_search_locations))).resolve()
    return found if own == name else found.parent


def remove(folder: str, provider: str) -> bool:
    """Remove the environment of a provider; return False if it is not installed. Raises StartError."""
    found = Path(folder) / provider.lower()
    if provider not in available() or not found.exists():
        return False
    try:
        shutil.rmtree(found)
    except OSError as error:
        raise StartError(f"the environment of {provider} cannot be removed: {error}") from error
    return True
