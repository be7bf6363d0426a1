# SPDX-License-Identifier: Apache-2.0
"""Writer of IonQ's JSON (gateset "qis"): gates only, since IonQ measures all qubits at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.visitor import GateStep, MeasureStep, Plain, walk
from qonduit_server.languages.writing.register_layout import refuse
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

_TITLE: Final = "IonQ's JSON"
#: The register of IonQ's result, of all qubits.
_REGISTER: Final = "meas"
#: Qiskit's standard gates that IonQ has, or that are written as several of its gates.
GATES: Final = {
    "id": "", "u": "", "x": "x", "y": "y", "z": "z", "h": "h", "s": "s", "sdg": "si", "t": "t", "tdg": "ti", "sx": "v",
    "sxdg": "vi", "rx": "rx", "ry": "ry", "rz": "rz", "cx": "cnot", "swap": "swap",
    "rxx": "xx", "ryy": "yy", "rzz": "zz",
}  # fmt: skip


def write(circuit: Circuit) -> WriteResult:
    """Write a program as IonQ's JSON.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, the result is not one register of all qubits.
    """
    if len(circuit.registers) != 1:
        raise refuse(_TITLE, f"result but one register of all qubits: {len(circuit.registers)} registers", "QASM3")
    register = circuit.registers[0]
    ending = at_the_end(circuit, _TITLE, GATES)
    steps = walk(ending.quantum, _TITLE, GATES)
    places = {step.qubit: step.clbit for step in steps if isinstance(step, MeasureStep)}
    used = {qubit for step in steps if isinstance(step, GateStep) and step.name != "id" for qubit in step.qubits}
    if not places or used - places.keys():
        raise refuse(
            _TITLE,
            "result but one register of all qubits, and here a qubit is left that is no bit of the result",
            "QASM3",
        )
    warnings = []
    if register.name != _REGISTER:
        warnings.append(f"the register {register.name!r} is called {_REGISTER!r}, as IonQ calls its result")
    program = {
        "format": "ionq.circuit.v0",
        "gateset": "qis",
        "qubits": len(register.bits),
        "circuit": list(gates(steps, places)),
    }
    return WriteResult(json.dumps(program) + "\n", tuple(warnings))


def gates(steps: Sequence[Plain], places: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Yield the gates of `GATES` among steps.

    Args:
        steps: other steps are ignored.
        places: the number of each qubit in IonQ's circuit.
    """
    for step in steps:
        if not isinstance(step, GateStep) or step.name == "id":
            continue
        qubits = [places[qubit] for qubit in step.qubits]
        match step.name:
            case "u":
                theta, phi, lam = step.numbers
                for name, angle in (("rz", lam), ("ry", theta), ("rz", phi)):
                    yield {"gate": name, "target": qubits[0], "rotation": angle}
            case "rx" | "ry" | "rz":
                yield {"gate": step.name, "target": qubits[0], "rotation": step.numbers[0]}
            case "cx":
                yield {"gate": "cnot", "control": qubits[0], "target": qubits[1]}
            case "swap":
                yield {"gate": "swap", "targets": qubits}
            case "rxx" | "ryy" | "rzz":
                yield {"gate": GATES[step.name], "targets": qubits, "rotation": step.numbers[0]}
            case _:
                yield {"gate": GATES[step.name], "target": qubits[0]}
