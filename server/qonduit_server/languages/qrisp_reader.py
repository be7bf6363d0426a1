# SPDX-License-Identifier: Apache-2.0
"""Qrisp's programs as text: the OpenQASM 2 or 3 that its circuits are exported to. Its Python is run elsewhere."""

from __future__ import annotations

import re
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.signatures import NO_INPUTS, Inputs
from qonduit_server.languages.source_text import without_comments

_VERSION: Final = re.compile(r"\s*OPENQASM\s+(\d)")


def read(text: str, inputs: Inputs = NO_INPUTS) -> Circuit:
    """Read a program by the version of OpenQASM that it says it is in.

    Raises:
        ProgramError: it does not say, or is at fault.
    """
    header = _VERSION.match(without_comments(text))
    if header is None:
        raise ProgramError(
            "WRONG_LANGUAGE",
            "a QRISP program that is not Python source begins with its version of OpenQASM: "
            "send what circuit.to_qasm2() or circuit.to_qasm3() gives",
            line=1,
            column=1,
        )
    return openqasm2_reader.read(text, inputs) if header.group(1) == "2" else openqasm3_reader.read(text, inputs)
