# SPDX-License-Identifier: Apache-2.0
"""Prepare Qiskit circuits for submission: reject unsupported instructions, and bind parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from qiskit.circuit import CONTROL_FLOW_OP_NAMES, Parameter, QuantumCircuit, Qubit
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.converters import circuit_to_dag, dag_to_circuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import HighLevelSynthesis

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.circuits import program_of
from qonduit_client.input_values import struct_of
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


def programs_of(
    circuit: QuantumCircuit, bindings: Sequence[Mapping[str, float]], widest: int | None
) -> list[QuantumProgram]:
    """Return a circuit as programs, one for each set of values of its parameters.

    Args:
        circuit: with or without parameters.
        bindings: values by parameter name; `[{}]` for a circuit that has none.
        widest: the device's number of qubits. Idle qubits of wider circuits are removed. None: of none.

    Raises:
        QiskitError: the circuit has an unsupported instruction.
    """
    if not bindings:
        return []
    for name in circuit.count_ops():
        if name.startswith(_AERS_OWN):
            raise QiskitError(
                f"circuit {circuit.name!r} has {name!r}, an instruction of Aer's own: devices give counts; "
                "for exact states use Client.run(..., statevector=True), for expectation values EstimatorV2"
            )
    if widest is not None and circuit.num_qubits > widest:
        circuit = _narrowed(circuit)
    with as_qiskit_has_it():
        program = program_of(_written_out(circuit))
    if len(bindings) == 1 and not bindings[0]:
        return [program]
    found = []
    for values in bindings:
        each = QuantumProgram()
        each.CopyFrom(program)
        each.python_file_inputs.CopyFrom(struct_of(dict(values)))
        found.append(each)
    return found


def bindings_of(
    circuits: Sequence[QuantumCircuit], parameter_binds: Sequence[Mapping[Parameter, Any]] | None
) -> list[list[dict[str, float]]]:
    """Return for each circuit the sets of values it is to be run with, from what Aer takes as `parameter_binds`.

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


def _rows(circuit: QuantumCircuit, bind: Mapping[Parameter, Any]) -> list[dict[str, float]]:
    if missing := [each.name for each in circuit.parameters if each not in bind]:
        raise QiskitError(
            f"circuit {circuit.name!r} has parameters without values: {', '.join(missing)}; give them by "
            "circuit.assign_parameters, or as parameter_binds"
        )
    if not circuit.parameters:
        return [{}]
    columns = [np.atleast_1d(bind[each]).tolist() for each in circuit.parameters]
    if len({len(column) for column in columns}) > 1:
        raise QiskitError(f"parameter_binds of circuit {circuit.name!r} has lists of different lengths")
    names = [each.name for each in circuit.parameters]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def rows_of(circuit: QuantumCircuit, values: BindingsArray) -> list[dict[str, float]]:
    """Return a pub's values by parameter name, one set for each place of its shape."""
    names = [each.name for each in circuit.parameters]
    rows = np.asarray(values.as_array(circuit.parameters), dtype=float).reshape(values.size, len(names)).tolist()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _written_out(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit in serializable instructions; if synthesis fails, unchanged for the server to check."""
    if _KEPT.issuperset(circuit.count_ops()):
        return circuit
    try:
        return PassManager([HighLevelSynthesis(basis_gates=sorted(_KEPT))]).run(circuit)
    except QiskitError:
        return circuit


def _narrowed(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit without idle qubits, which transpilation for a large device adds."""
    dag = circuit_to_dag(circuit)
    for name in ("barrier", "delay"):
        dag.remove_all_ops_named(name)
    dag.remove_qubits(*[wire for wire in dag.idle_wires() if isinstance(wire, Qubit)])
    return dag_to_circuit(dag)
