# SPDX-License-Identifier: Apache-2.0
"""Prepare Qiskit circuits for submission: reject unsupported instructions, and bind parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import CONTROL_FLOW_OP_NAMES, Parameter, QuantumCircuit, Qubit
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.converters import circuit_to_dag, dag_to_circuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import HighLevelSynthesis

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.circuits import program_of
from qonduit_client.job_parts import Part
from qonduit_client.qiskit.qiskit_errors import as_qiskit_has_it

#: What travels as it is: Qiskit's file format tells of other operations of its libraries by the names of their classes
#: only, which servers do not follow.
_KEPT: Final = frozenset(
    (
        *get_standard_gate_name_mapping(),
        *CONTROL_FLOW_OP_NAMES,
        *(
            "break_loop",
            "continue_loop",
            "barrier",
            "store",
            "initialize",
            "state_preparation",
            "unitary",
            "diagonal",
            "pauli",
            "permutation",
        ),
        *("mcx", "mcx_gray", "mcphase", "ucrx", "ucry", "ucrz", "qft", "linear_function", "clifford", "hamiltonian"),
    )
)
#: How the names of Aer's instructions begin that set or save what its simulator holds.
_AERS_OWN: Final = ("save_", "set_")


def listed(run_input: QuantumCircuit | Iterable[QuantumCircuit]) -> list[QuantumCircuit]:
    """Return one circuit, or several of them, as a list.

    Raises:
        TypeError: an element is not a circuit.
    """
    circuits = [run_input] if isinstance(run_input, QuantumCircuit) else run_input
    if isinstance(circuits, str | bytes | Mapping) or not isinstance(circuits, Iterable):
        raise TypeError(f"run takes a QuantumCircuit or a list of them, not {type(run_input).__name__}")
    found = list(circuits)
    for each in found:
        if not isinstance(each, QuantumCircuit):
            raise TypeError(f"run takes QuantumCircuit objects, not {type(each).__name__}")
    return found


def program_for(
    circuit: QuantumCircuit, widest: int | None, observed: Iterable[int] = ()
) -> tuple[QuantumProgram, list[int]]:
    """Return a circuit as a program, and the circuit's qubits in the order of the program's.

    Args:
        circuit: with or without parameters.
        widest: the device's number of qubits. Idle qubits of wider circuits are removed. None: of none.
        observed: qubits that are kept, also if they are idle.

    Raises:
        QiskitError: the circuit has an unsupported instruction.
    """
    for name in circuit.count_ops():
        if name.startswith(_AERS_OWN):
            raise QiskitError(
                f"circuit {circuit.name!r} has {name!r}, an instruction of Aer's own: devices give counts; "
                "for exact states use Client.run(..., statevector=True), for expectation values EstimatorV2"
            )
    kept = list(range(circuit.num_qubits))
    if widest is not None and circuit.num_qubits > widest:
        circuit, kept = _narrowed(circuit, frozenset(observed))
    with as_qiskit_has_it():
        return program_of(_written_out(circuit)), kept


def parts_of(
    circuit: QuantumCircuit, values: NDArray[np.float64], widest: int | None, shots: int, per_shot: bool
) -> list[Part]:
    """Return a circuit at points as parts that count outcomes.

    Args:
        circuit: with or without parameters.
        values: points x parameters, in the order of the circuit's parameters.
        widest: as of `program_for`.
        shots: at each point.
        per_shot: whether to return each shot too, by a sampler.

    Raises:
        QiskitError: the circuit has an unsupported instruction.
    """
    if not len(values):
        return []
    program, _ = program_for(circuit, widest)
    sets = sets_of(circuit, values)
    part = Part(program, shots, sampler=SamplerOptions(per_shot=True) if per_shot else None, parameter_sets=sets)
    return [part] if sets is not None else [part] * len(values)


def sets_of(circuit: QuantumCircuit, values: NDArray[np.float64]) -> ParameterSets | None:
    """Return points x parameters as a message; None for a circuit without parameters."""
    names = [each.name for each in circuit.parameters]
    return ParameterSets(names=names, values=values.reshape(-1).tolist()) if names else None


def bindings_of(
    circuits: Sequence[QuantumCircuit], parameter_binds: Sequence[Mapping[Parameter, Any]] | None
) -> list[NDArray[np.float64]]:
    """Return for each circuit the values it is to be run with (points x parameters), from Aer's `parameter_binds`.

    Args:
        circuits: with or without parameters.
        parameter_binds: a mapping for each circuit, from its parameters to lists of values, all equally long.

    Raises:
        QiskitError: a parameter has no value, or the lists do not fit together.
    """
    binds = list(parameter_binds or [{} for _ in circuits])
    if len(binds) != len(circuits):
        raise QiskitError(f"parameter_binds has {len(binds)} mappings for {len(circuits)} circuits: give one for each")
    return [_rows(circuit, bind) for circuit, bind in zip(circuits, binds, strict=True)]


def _rows(circuit: QuantumCircuit, bind: Mapping[Parameter, Any]) -> NDArray[np.float64]:
    if missing := [each.name for each in circuit.parameters if each not in bind]:
        raise QiskitError(
            f"circuit {circuit.name!r} has parameters without values: {', '.join(missing)}; give them by "
            "circuit.assign_parameters, or as parameter_binds"
        )
    if not circuit.parameters:
        return np.zeros((1, 0))
    columns = [np.atleast_1d(bind[each]) for each in circuit.parameters]
    if len({len(column) for column in columns}) > 1:
        raise QiskitError(f"parameter_binds of circuit {circuit.name!r} has lists of different lengths")
    return np.stack(columns, axis=1).astype(np.float64)


def rows_of(circuit: QuantumCircuit, values: BindingsArray) -> NDArray[np.float64]:
    """Return a pub's values as points x parameters."""
    found: NDArray[np.float64] = np.asarray(values.as_array(circuit.parameters), dtype=np.float64)
    return found.reshape(values.size, len(circuit.parameters))


def _written_out(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit in serializable instructions; if synthesis fails, unchanged for the server to check."""
    if _KEPT.issuperset(circuit.count_ops()):
        return circuit
    try:
        return PassManager([HighLevelSynthesis(basis_gates=sorted(_KEPT))]).run(circuit)
    except QiskitError:
        return circuit


def _narrowed(circuit: QuantumCircuit, observed: frozenset[int]) -> tuple[QuantumCircuit, list[int]]:
    """Return the circuit without idle qubits, which transpilation for a large device adds, and what it keeps."""
    dag = circuit_to_dag(circuit)
    for name in ("barrier", "delay"):
        dag.remove_all_ops_named(name)
    kept_anyway = {circuit.qubits[place] for place in observed}
    idle = [wire for wire in dag.idle_wires() if isinstance(wire, Qubit) and wire not in kept_anyway]
    dag.remove_qubits(*idle)
    gone = set(idle)
    return dag_to_circuit(dag), [place for place, qubit in enumerate(circuit.qubits) if qubit not in gone]
