# SPDX-License-Identifier: Apache-2.0
"""The program types that need no qBraid transpiler: all languages of the server, as their SDKs serialize them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from qbraid.programs import QPROGRAM_REGISTRY, ExperimentType, ProgramSpec

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.program_messages import programs_of


def _object(program: Any) -> QuantumProgram:
    return programs_of(program)[0]


def _openqasm3(program: Any) -> QuantumProgram:
    import openqasm3

    return programs_of(openqasm3.dumps(program), "QASM3")[0]


def _ionq(program: Any) -> QuantumProgram:
    return programs_of(json.dumps(program), "IONQ")[0]


#: By qBraid's alias. Texts say their language in their header. Tapes of PennyLane are missing: qBraid 0.13 takes them
#: for two kinds of program at once, and refuses to run them on any device.
_WRITERS: Final[dict[str, Callable[[Any], QuantumProgram]]] = {
    "qasm3": _object,
    "qasm2": _object,
    "qiskit": _object,
    "cirq": _object,
    "braket": _object,
    "pyquil": _object,
    "openqasm3": _openqasm3,
    "ionq": _ionq,
}


def specs() -> list[ProgramSpec]:
    """Return the program types that are sent unchanged: those of installed SDKs, and texts."""
    return [
        ProgramSpec(
            QPROGRAM_REGISTRY[alias], alias=alias, serialize=serialize, experiment_type=ExperimentType.GATE_MODEL
        )
        for alias, serialize in _WRITERS.items()
        if alias in QPROGRAM_REGISTRY
    ]


def message(program: Any) -> QuantumProgram:
    """Return the message of a program, with or without a previous `QuantumDevice.prepare`."""
    return _ionq(program) if isinstance(program, dict) else _object(program)
