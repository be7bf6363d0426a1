# SPDX-License-Identifier: Apache-2.0
"""Convert circuit objects of SDKs to programs; each SDK serializes its own objects.

The package of an object's class (or of a base class) identifies the SDK, so that this module imports only SDKs that
the caller has imported already.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable
from typing import Any, Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.errors import ProgramUnreadable

#: Of the ids that replace those of Qiskit's parameters.
_PARAMETERS: Final = uuid.UUID("6f6e6475-6974-4d70-8f67-72616d000002")
_names_parameters = False


def name_parameters() -> None:
    """Let the names of Qiskit's parameters decide their ids in programs, in place of random numbers.

    Server programs do so: one that runs again must submit equal programs. Qiskit writes expressions of several
    parameters in a random order, which stays. The circuits that a job returns have other parameters than those that
    were submitted.
    """
    global _names_parameters
    _names_parameters = True


def is_circuit(value: object) -> bool:
    """Return whether a value is an object of a supported SDK; `program_of` accepts it or rejects it with a reason."""
    return _package(value) is not None


def program_of(circuit: Any) -> QuantumProgram:
    """Return a circuit object as a program, in its SDK's serialization.

    Args:
        circuit: a `qiskit.QuantumCircuit` (as QPY), a `cirq.Circuit` (as Cirq's JSON), a `braket.circuits.Circuit` or
            Braket `Program` (as OpenQASM with Braket's pragmas), a `pyquil.Program` or `quil.program.Program` (as
            Quil), a PennyLane tape or a Qrisp `QuantumCircuit` (as OpenQASM).

    Raises:
        ProgramUnreadable: reason UNKNOWN_OBJECT; the object is not a circuit, or its SDK cannot serialize it.
    """
    package = _package(circuit)
    if package is None:
        raise ProgramUnreadable(
            f"{_named(circuit)} is not a program: pass text, bytes, a Path, a circuit of Qiskit, Cirq, Braket, pyQuil, "
            "PennyLane or Qrisp, or a list of them",
            reason="UNKNOWN_OBJECT",
        )
    try:
        return _WRITERS[package](circuit)
    except ProgramUnreadable:
        raise
    except Exception as error:
        raise ProgramUnreadable(
            f"{package} cannot serialize this {_named(circuit)}: {error}", reason="UNKNOWN_OBJECT"
        ) from error


def without_measurements(program: Any) -> Any:
    """Return the program without changes of basis before its measurements, which observables do not refer to.

    Only tapes of PennyLane have any: their serialization diagonalizes the observables that they measure.
    """
    if _package(program) != "pennylane":
        return program
    import pennylane

    if not isinstance(program, pennylane.tape.QuantumScript):
        return program
    return pennylane.tape.QuantumScript(program.operations, [pennylane.probs(wires=program.wires)])


def _package(value: object) -> str | None:
    for kind in type(value).__mro__:
        package = (kind.__module__ or "").partition(".")[0]  # some of Qiskit's gates have None there
        if package in _WRITERS:
            return package
    return None


def _named(value: object) -> str:
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return repr(value) if value is None or isinstance(value, bool | int | float) else name


def _no_circuit(value: object, wanted: str) -> ProgramUnreadable:
    return ProgramUnreadable(f"{_named(value)} is not a circuit: pass {wanted}", reason="UNKNOWN_OBJECT")


def _qiskit(circuit: Any) -> QuantumProgram:
    from qiskit import QuantumCircuit, qpy

    if not isinstance(circuit, QuantumCircuit):
        raise _no_circuit(circuit, "a qiskit.QuantumCircuit")
    # The oldest version that can represent the circuit, so that servers with an older Qiskit can read it too.
    written = io.BytesIO()
    version = max(qpy.common.QPY_COMPATIBILITY_VERSION, 13)
    qpy.dump(_without_metadata(circuit), written, version=version)
    content = written.getvalue()
    if _names_parameters:
        for parameter in circuit.parameters:
            content = content.replace(parameter.uuid.bytes, _id_of(parameter).bytes)
    return QuantumProgram(
        quantum_circuit_binary=content, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
    )


def _id_of(parameter: Any) -> uuid.UUID:
    """Return an id that depends on the name of a parameter; elements of a vector have consecutive ones."""
    vector = getattr(parameter, "vector", None)
    if vector is None:
        return uuid.uuid5(_PARAMETERS, parameter.name)
    return uuid.UUID(int=(uuid.uuid5(_PARAMETERS, f"{vector.name}[]").int + parameter.index) % 2**128)


def _without_metadata(circuit: Any) -> Any:
    """Return the circuit without metadata, in branches and loop bodies too; metadata may be of any type."""
    if not circuit.has_control_flow_op():
        bare = circuit.copy()
        bare.metadata = {}
        return bare
    bare = circuit.copy_empty_like()
    bare.metadata = {}
    for instruction in circuit.data:
        operation = instruction.operation
        if blocks := getattr(operation, "blocks", ()):
            operation = operation.replace_blocks([_without_metadata(block) for block in blocks])
        bare.append(operation, instruction.qubits, instruction.clbits, copy=False)
    return bare


def _cirq(circuit: Any) -> QuantumProgram:
    import cirq

    if not isinstance(circuit, cirq.AbstractCircuit):
        raise _no_circuit(circuit, "a cirq.Circuit")
    return _text(
        cirq.to_json(circuit, indent=None), "CIRQ"
    )  # indentation doubles the size and takes four times as long


def _braket(circuit: Any) -> QuantumProgram:
    from braket.circuits import Circuit
    from braket.circuits.serialization import IRType
    from braket.ir.openqasm import Program

    if isinstance(circuit, Circuit):
        return _text(circuit.to_ir(IRType.OPENQASM).source, "BRAKET")
    if not isinstance(circuit, Program):
        raise _no_circuit(circuit, "a braket.circuits.Circuit")
    if circuit.inputs:
        raise _no_circuit(circuit, "its source, and its inputs as inputs=")
    return _text(circuit.source, "BRAKET")


def _pyquil(program: Any) -> QuantumProgram:
    if not callable(getattr(program, "out", None)):
        raise _no_circuit(program, "a pyquil.Program")
    return _text(program.out(), "QUIL")


def _quil(program: Any) -> QuantumProgram:
    if not callable(getattr(program, "to_quil", None)):
        raise _no_circuit(program, "a quil.program.Program")
    return _text(program.to_quil(), "QUIL")


def _pennylane(tape: Any) -> QuantumProgram:
    import pennylane

    if not isinstance(tape, pennylane.tape.QuantumScript):
        raise _no_circuit(tape, "a tape (qml.workflow.construct_tape(qnode)(...)), or use the device 'qonduit'")
    return _text(_PHASES.sub("", pennylane.to_openqasm(tape)), "QASM2")


#: Global phases of decomposed matrices: OpenQASM 2 has no gphase, and no measurement depends on them.
_PHASES: Final = re.compile(r"^(?:if\([^;]*\) ?)?gphase\([^;]*\) ?;\n", re.MULTILINE)


def _qrisp(circuit: Any) -> QuantumProgram:
    if not callable(getattr(circuit, "qasm", None)):
        raise _no_circuit(circuit, "a qrisp.QuantumCircuit")
    return _text(circuit.qasm(), "QASM2")


def _text(source: str, language: str) -> QuantumProgram:
    return QuantumProgram(quantum_circuit=source, assembler_language=f"ASSEMBLER_LANGUAGE_{language}")


_WRITERS: Final[dict[str, Callable[[Any], QuantumProgram]]] = {
    "qiskit": _qiskit,
    "cirq": _cirq,
    "braket": _braket,
    "pyquil": _pyquil,
    "quil": _quil,
    "pennylane": _pennylane,
    "qrisp": _qrisp,
}
