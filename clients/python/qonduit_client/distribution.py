# SPDX-License-Identifier: Apache-2.0
"""The name under which this is installed: every hint what to install takes it from here, the server's too.

The import names are shorter: on package indexes, the short name belongs to another project. Workers import this, so it
imports nothing.
"""

from __future__ import annotations

from typing import Final

DISTRIBUTION: Final = "qonduit-quantum"


def with_extras(*extras: str) -> str:
    """Return what an installer is given for the package with extras, quoted for a shell."""
    return f'"{DISTRIBUTION}[{",".join(extras)}]"'


def pip_install(*extras: str) -> str:
    """Return the command that installs the package with extras."""
    return f"pip install {with_extras(*extras)}"
