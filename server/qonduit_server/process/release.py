# SPDX-License-Identifier: Apache-2.0
"""The release of Qonduit that is installed here."""

from __future__ import annotations

from importlib import metadata

from qonduit_client.distribution import DISTRIBUTION


def installed_release() -> str:
    """Return the version of the installed package; "0" in a source tree that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"
