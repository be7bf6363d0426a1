# SPDX-License-Identifier: Apache-2.0
"""Convert program sets to values of JSON and back, with the observables from which the SDK computes expectations."""

from __future__ import annotations

from typing import Any

from braket.circuits import Circuit, Observable
from braket.circuits.observables import Hermitian, Sum, TensorProduct, observable_from_ir
from braket.circuits.serialization import IRType
from braket.ir.openqasm import Program
from braket.ir.openqasm.program_set_v1 import ProgramSet as OpenQASMProgramSet
from braket.program_sets import CircuitBinding, ProgramSet


def stored_set(specification: ProgramSet | OpenQASMProgramSet, whole: OpenQASMProgramSet) -> list[Any]:
    """Return a set as values of JSON.

    Args:
        specification: the set.
        whole: the same as OpenQASM.
    """
    entries = specification.entries if isinstance(specification, ProgramSet) else [None] * len(whole.programs)
    return [
        [program.source, program.inputs, _binding(entry) if isinstance(entry, CircuitBinding) else None]
        for program, entry in zip(whole.programs, entries, strict=True)
    ]


def opened_set(stored: list[Any]) -> tuple[OpenQASMProgramSet, ProgramSet]:
    """Return a set from the values of `stored_set`: as OpenQASM, and as an object of the SDK with its observables."""
    programs = [Program(source=source, inputs=inputs) for source, inputs, _ in stored]
    entries = [
        program if binding is None else CircuitBinding(binding[0], binding[1], _opened_observables(binding[2]))
        for program, (_, _, binding) in zip(programs, stored, strict=True)
    ]
    return OpenQASMProgramSet(programs=programs), ProgramSet(entries)


def _binding(entry: CircuitBinding) -> list[Any]:
    circuit = entry.circuit
    source = circuit.to_ir(ir_type=IRType.OPENQASM).source if isinstance(circuit, Circuit) else circuit
    observables = entry.observables
    terms = observables.summands if isinstance(observables, Sum) else observables
    return [
        source,
        None if entry.input_sets is None else entry.input_sets.as_dict(),
        None if not terms else [isinstance(observables, Sum), [_stored_product(each) for each in terms]],
    ]


def _stored_product(product: Any) -> list[Any]:
    if not isinstance(product, TensorProduct):
        return [None, [_stored_factor(product)]]
    return [product.coefficient, [_stored_factor(each) for each in product.factors]]


def _stored_factor(factor: Any) -> list[Any]:
    # Observables of a set are products of Paulis: others have no Euler angles.
    return [factor.coefficient, type(factor).__name__.lower(), [int(qubit) for qubit in factor.targets]]


def _opened_observables(stored: list[Any] | None) -> Any:
    if stored is None:
        return None
    is_sum, terms = stored
    observables = [_opened_product(*each) for each in terms]
    return Sum(observables) if is_sum else observables


def _opened_product(coefficient: float | None, factors: list[Any]) -> Observable:
    opened = [scale * with_targets(observable_from_ir([own]), targets) for scale, own, targets in factors]
    return opened[0] if coefficient is None else coefficient * TensorProduct(opened)


def with_targets(factor: Any, targets: list[int]) -> Any:
    """Return an observable that is no product on other qubits."""
    if not targets:
        return factor
    if isinstance(factor, Hermitian):
        return Hermitian(factor.to_matrix(), targets=targets)
    return type(factor)(targets[0])
