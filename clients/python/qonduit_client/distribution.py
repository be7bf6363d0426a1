# SPDX-License-Identifier: Apache-2.0
"""The distribution name; all installation hints use it, including the server's.

It differs from the import name, which belongs to another project on package indexes. Workers import this module, so it
imports nothing.
"""

from __future__ import annotations

from typing import Final

DISTRIBUTION: Final = "qonduit-quantum"


def with_extras(*extras: str) -> str:
    """Return the requirement of the package with extras, quoted for a shell."""
    return f'"{DISTRIBUTION}[{",".join(extras)}]"'


def pip_install(*extras: str) -> str:
    """Return the command that installs the package with extras."""
    return f"pip install {with_extras(*extras)}"
