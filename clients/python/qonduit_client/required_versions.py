# SPDX-License-Identifier: Apache-2.0
"""The versions of packages that a job requires of the workers that run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from qonduit.v1.job_pb2 import RequiredVersions

#: "qiskit-aer==0.17.2", several of these, or versions by package: those of `Provenance.versions`.
Versions: TypeAlias = str | Iterable[str] | Mapping[str, str]

_OPERATORS = ("=", "~", "!", "<", ">")


def required_versions_of(versions: Versions | None, *, wait: bool = False) -> RequiredVersions | None:
    """Return the message of required versions; None without any.

    Args:
        versions: a mapping contains specifiers (">=2,<3"), or plain versions, which are required exactly.
        wait: whether the job waits while no worker has them.

    Raises:
        ValueError: the job waits for no versions.
        TypeError: a requirement is no text.
    """
    if versions is None:
        if wait:
            raise ValueError("wait_for_versions needs versions, as versions='qiskit-aer==0.17.2'")
        return None
    found: list[str]
    if isinstance(versions, str):
        found = [versions]
    elif isinstance(versions, Mapping):
        found = [
            f"{name}{each}" if str(each).strip().startswith(_OPERATORS) else f"{name}==={each}"
            for name, each in versions.items()
        ]
    else:
        found = list(versions)
    for each in found:
        if not isinstance(each, str):
            raise TypeError(f"versions are texts as 'qiskit-aer==0.17.2', got {each!r}")
    return RequiredVersions(requirements=found, wait=wait)
