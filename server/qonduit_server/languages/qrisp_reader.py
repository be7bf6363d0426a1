# SPDX-License-Identifier: Apache-2.0
"""Reader of Qrisp's exported circuits, OpenQASM 2 or 3. `python` runs Qrisp's Python source."""

from __future__ import annotations

import re
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs
from qonduit_server.languages.source_text import without_comments

_VERSION: Final = re.compile(r"\s*OPENQASM\s+(\d)")


def read(text: str, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a program by the version of OpenQASM that it says it is in.

    Raises:
        ProgramError: it has no version, or is invalid.
    """
    header = _VERSION.match(without_comments(text))
    if header is None:
        raise ProgramError(
            "WRONG_LANGUAGE",
            "a QRISP program that is not Python source begins with its version of OpenQASM:  "
            "send the text of circuit.to_qasm2() or circuit.to_qasm3()",
            line=1,
            column=1,
        )
    if header.group(1) == "2":
        return openqasm2_reader.read(text, inputs, gate_names)
    return openqasm3_reader.read(text, inputs, gate_names)
