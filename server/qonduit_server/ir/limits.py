# SPDX-License-Identifier: Apache-2.0
"""What one program may have at most, whatever language it is written in; refused before anything large is allocated."""

from __future__ import annotations

from typing import Final

from qonduit_server.errors import ProgramError

#: No simulator holds more; a vendor's largest machine has fewer.
MAX_QUBITS: Final = 4096
MAX_CLBITS: Final = 65_536
#: Operations after loops, subroutines and gate definitions are unrolled.
MAX_OPERATIONS: Final = 300_000
#: How deep gate definitions, blocks and brackets may be nested.
MAX_DEPTH: Final = 100
#: A formula of classical bits may have this many parts, and be nested this deep: whatever runs it recurses into it.
MAX_FORMULA_PARTS: Final = 20_000
MAX_FORMULA_DEPTH: Final = 100
#: A register's name stands in every result; so does a number for each register in every key.
MAX_NAME_BYTES: Final = 1024
MAX_REGISTERS: Final = 4096


def too_large(message: str) -> ProgramError:
    """Return the error of a program that would cost too much."""
    return ProgramError("TOO_LARGE", message)
