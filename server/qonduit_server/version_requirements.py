# SPDX-License-Identifier: Apache-2.0
"""The versions of packages that a job requires, and the environments that have them; for servers and workers.

`packaging` implements the specifiers (PEP 440). It is imported when a job has requirements: most have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.provider_pb2 import Environment as EnvironmentMessage
from qonduit_server.errors import Violation

#: The versions of packages by name, as a provider reports them.
Versions = Mapping[str, str]


class Environment(NamedTuple):
    """The environment of some workers.

    Attributes:
        versions: the versions of its packages.
        room: the number of further tasks that these workers take now; infinite if nothing else limits them.
    """

    versions: Versions
    room: float = math.inf


_FIELD: Final = "job.required_versions.requirements"
_FORM: Final = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([=~!<>].*)", re.DOTALL)
#: Messages contain at most this many environments, and this many characters of each.
_MAX_LISTED: Final = 5
_LISTED_CHARACTERS: Final = 300


def broken(spec: JobSpec) -> Iterator[Violation]:
    """Yield the violations of a job's requirements."""
    for place, text in enumerate(spec.required_versions.requirements):
        try:
            _parsed(text)
        except ValueError as error:
            path = f"{_FIELD}[{place}]"
            yield Violation(path, "required_versions.specifier", f"{path}: {error}")
    if spec.required_versions.wait and not spec.required_versions.requirements:
        path = "job.required_versions.wait"
        message = f"{path}: only a job with requirements waits for versions, and {_FIELD} is empty"
        yield Violation(path, "required_versions.wait", message)


def environments_of(*descriptions: ProviderDescription) -> list[EnvironmentMessage]:
    """Return the different environments of the workers that descriptions of a provider are of, in a fixed order."""
    found: list[EnvironmentMessage] = []
    for each in descriptions:
        if each.unavailable:
            continue
        found += each.environments or ([EnvironmentMessage(versions=each.versions)] if each.versions else [])
    different = {tuple(sorted(each.versions.items())): each for each in found}
    return [different[key] for key in sorted(different)]


def requirements_of(spec: JobSpec) -> tuple[str, ...]:
    """Return what a job requires in canonical form and order: equal requirements are equal tuples.

    An exact rerun requires the versions of the job that it repeats.
    """
    if not spec.HasField("required_versions") and not spec.HasField("required_provenance"):
        return ()
    exact = (f"{name}==={version}" for name, version in spec.required_provenance.versions.items())
    return _canonical((*spec.required_versions.requirements, *exact))


def matches(requirements: Iterable[str], versions: Versions) -> bool:
    """Return whether an environment meets requirements in canonical form."""
    return next(unmet(requirements, versions), None) is None


def unmet(requirements: Iterable[str], versions: Versions) -> Iterator[str]:
    """Yield the requirements that an environment does not meet, each with its version."""
    known = _by_normalized_name(versions)
    for text in requirements:
        name, _, accepts = _parsed(text)
        version = known.get(name, "")
        if not version:
            yield f"{text} (not installed)"
        elif not accepts(version):
            yield f"{text} (has {version})"


@lru_cache(maxsize=4096)
def normalized(name: str) -> str:
    """Return the name of a package as requirements are compared: "Qiskit_Aer" is "qiskit-aer"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _by_normalized_name(versions: Versions) -> dict[str, str]:
    return {normalized(name): version for name, version in versions.items()}


def listed(requirements: Iterable[str], environments: Sequence[Versions]) -> str:
    """Return the versions that environments have of the packages in requirements, for messages."""
    names = list(dict.fromkeys(_parsed(text)[0] for text in requirements))
    found: dict[str, None] = {}
    for versions in environments:
        known = _by_normalized_name(versions)
        text = ", ".join(f"{name} {known.get(name) or 'not installed'}" for name in names)
        found[text[:_LISTED_CHARACTERS]] = None
    if len(found) > _MAX_LISTED:
        return "; or ".join([*list(found)[:_MAX_LISTED], f"{len(found) - _MAX_LISTED} others"])
    return "; or ".join(found) or "none"


@lru_cache(maxsize=1024)
def _canonical(requirements: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({f"{name}{specifier}" for name, specifier, _ in map(_parsed, requirements)}))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str, str, Callable[[str], bool]]:
    """Return the normalized package of a requirement, its canonical specifier, and what tests a version.

    Raises:
        ValueError: it is not a requirement; the message contains the form.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    form = _FORM.fullmatch(text)
    try:
        specifiers = SpecifierSet(form[2]) if form else None
    except InvalidSpecifier:
        specifiers = None
    if form is None or specifiers is None:
        raise ValueError(
            f"must be a package and a version specifier (PEP 440), as qiskit-aer==0.17.2 or numpy>=2,<3, got {text!r}"
        )

    def accepts(version: str) -> bool:
        try:
            Version(version)
        except InvalidVersion:
            # A version that does not follow PEP 440 equals itself alone.
            return all(each.operator == "===" and each.version == version for each in specifiers)
        return specifiers.contains(version, prereleases=True)

    return normalized(form[1]), ",".join(sorted(map(str, specifiers))), accepts
