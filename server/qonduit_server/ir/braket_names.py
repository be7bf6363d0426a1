# SPDX-License-Identifier: Apache-2.0
"""The names that Amazon Braket gives to standard gates."""

from __future__ import annotations

from typing import Final

#: IR gate -> Braket's name. The modifier `ctrl @` is never written: Braket's simulator computes some such gates
#: wrongly.
BRAKET_NAMES: Final = {
    "id": "i", "x": "x", "y": "y", "z": "z", "h": "h", "s": "s", "sdg": "si", "t": "t", "tdg": "ti",
    "sx": "v", "sxdg": "vi", "rx": "rx", "ry": "ry", "rz": "rz", "p": "phaseshift", "u1": "phaseshift",
    "u": "U", "u3": "U", "cx": "cnot", "cy": "cy", "cz": "cz", "csx": "cv", "cp": "cphaseshift", "cu1": "cphaseshift",
    "swap": "swap", "iswap": "iswap", "ecr": "ecr", "rxx": "xx", "ryy": "yy", "rzz": "zz",
    "ccx": "ccnot", "cswap": "cswap",
}  # fmt: skip
