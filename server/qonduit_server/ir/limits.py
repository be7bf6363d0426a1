# SPDX-License-Identifier: Apache-2.0
"""Size limits of a program in any language, checked before anything large is allocated."""

from __future__ import annotations

from typing import Final

from qonduit_server.errors import ProgramError

#: More than any simulator or vendor's machine has.
MAX_QUBITS: Final = 4096
MAX_CLBITS: Final = 65_536
#: Operations after loops, subroutines and gate definitions are unrolled.
MAX_OPERATIONS: Final = 300_000
#: Maximum nesting depth of gate definitions, blocks and brackets.
MAX_DEPTH: Final = 100
#: Maximum number of parts and nesting depth of a formula of classical bits: evaluators recurse into it.
MAX_FORMULA_PARTS: Final = 20_000
MAX_FORMULA_DEPTH: Final = 100
#: Every result holds each register's name, and every key a number for each register.
MAX_NAME_BYTES: Final = 1024
MAX_REGISTERS: Final = 4096


def too_large(message: str) -> ProgramError:
    """Return the error for a program that exceeds a limit."""
    return ProgramError("TOO_LARGE", message)
