# SPDX-License-Identifier: Apache-2.0
"""The shape and the calibration of Google's processors, in Google's own terms: read without importing a quantum SDK."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qonduit.v1.calibration_pb2 import CoupledQubits, DeviceCalibration, GateCalibration, QubitCalibration

#: Names of native gates: in a specification and here. The gate "u" is any gate for one qubit, "rz" costs nothing.
_ONE_QUBIT_GATES: Final = {"virtual_zpow": "rz", "phased_xz": "u"}
#: Native gates for two qubits, with their name in metrics.
_TWO_QUBIT_GATES: Final = {
    "cz": "cz",
    "syc": "sycamore",
    "sqrt_iswap": "sqrt_iswap",
    "sqrt_iswap_inv": "sqrt_iswap",
}
#: Some specifications contain 4 ms; Cirq's noise takes 4 us.
_LONGEST_READOUT: Final = 4e-6
_PICO: Final = 1e-12

#: The values of each metric, by the names of qubits.
Metrics: TypeAlias = Mapping[str, Mapping[tuple[str, ...], float]]


@dataclass(frozen=True)
class Processor:
    """The shape of a processor.

    Args:
        name: the device's name, "rainbow".
        qubits: the names of its qubits, "4_1" for row 4 and column 1; the number of a qubit is its place here.
        basis_gates: its native gates.
        two_qubit_gates: those of them for two qubits.
        durations: of gates, of "measure" and of "reset" where the processor has it, in seconds.
        coupling_map: pairs of numbers, in both directions.
    """

    name: str
    qubits: tuple[str, ...]
    basis_gates: tuple[str, ...]
    two_qubit_gates: tuple[str, ...]
    durations: Mapping[str, float]
    coupling_map: tuple[tuple[int, int], ...]

    @property
    def num_qubits(self) -> int:
        """How many qubits it has."""
        return len(self.qubits)


def processor(
    name: str, qubits: Iterable[str], pairs: Iterable[tuple[str, str]], picoseconds: Mapping[str, int]
) -> Processor:
    """Return the shape of a processor by its specification.

    Args:
        name: the device's name.
        qubits: the names of its qubits.
        pairs: those of coupled qubits.
        picoseconds: the durations of its gates, by their names in the specification; 0: not known.
    """
    ordered = sorted(qubits, key=lambda qubit: tuple(int(each) for each in qubit.split("_")))
    number = {qubit: place for place, qubit in enumerate(ordered)}
    coupled = {(number[first], number[second]) for first, second in pairs}
    coupled |= {(second, first) for first, second in coupled}
    times = {gate: duration * _PICO for gate, duration in picoseconds.items()}
    two_qubit_gates = tuple(gate for gate in _TWO_QUBIT_GATES if gate in times)
    durations = {gate: times[kind] for kind, gate in _ONE_QUBIT_GATES.items() if kind in times}
    durations |= {gate: times[gate] for gate in two_qubit_gates}
    durations["measure"] = min(times.get("meas", 0.0), _LONGEST_READOUT)
    if "reset" in times:
        durations["reset"] = times["reset"]
    basis = (*_ONE_QUBIT_GATES.values(), *two_qubit_gates)
    return Processor(name, tuple(ordered), basis, two_qubit_gates, durations, tuple(sorted(coupled)))


def measured(gate: str, metrics: Metrics) -> bool:
    """Return whether the error of a gate for two qubits was measured."""
    return _pauli_error(gate) in metrics


def calibration(processor: Processor, metrics: Metrics, milliseconds: int) -> DeviceCalibration:
    """Return the calibration of a processor.

    Args:
        processor: its shape.
        metrics: the measured values; properties without one are unset.
        milliseconds: the time of the measurements.
    """
    found = DeviceCalibration(
        qubits=[_qubit(processor, metrics, number) for number in range(processor.num_qubits)],
        gates=_gates(processor, metrics),
        coupling_map=[CoupledQubits(first=first, second=second) for first, second in processor.coupling_map],
    )
    found.calibrated_at.FromMilliseconds(milliseconds)
    return found


def _qubit(processor: Processor, metrics: Metrics, number: int) -> QubitCalibration:
    name = processor.qubits[number]

    def value(metric: str) -> float | None:
        return metrics.get(metric, {}).get((name,))

    found = QubitCalibration(
        qubit=number,
        name=name,
        prob_1_given_0=value("single_qubit_p00_error"),
        prob_0_given_1=value("single_qubit_p11_error"),
        readout_duration=processor.durations["measure"] or None,
    )
    t1, incoherent = value("single_qubit_idle_t1_micros"), value("single_qubit_rb_incoherent_error_per_gate")
    if t1 is None or t1 <= 0:
        return found
    found.t1 = t1 * 1e-6
    if incoherent is not None and (time := processor.durations.get("u", 0.0)) > 0:
        # As Cirq's noise: what relaxation does not explain of the incoherent error of a gate is pure dephasing.
        dephasing = 3 * incoherent / time - 1 / found.t1
        found.t2 = 1 / (1 / (2 * found.t1) + max(0.0, dephasing))
    return found


def _gates(processor: Processor, metrics: Metrics) -> Iterator[GateCalibration]:
    durations = processor.durations
    pauli = metrics.get("single_qubit_rb_pauli_error_per_gate", {})
    for number, name in enumerate(processor.qubits):
        yield GateCalibration(gate="rz", qubits=[number], error=0.0, duration=0.0)
        for gate in ("u", "reset"):
            if gate in durations:
                yield _gate(processor, gate, [number], pauli.get((name,)))
    for gate in processor.two_qubit_gates:
        errors = metrics.get(_pauli_error(gate), {})
        for pair in processor.coupling_map:
            names = tuple(processor.qubits[number] for number in pair)
            yield _gate(processor, gate, pair, errors.get(names, errors.get(names[::-1])))


def _gate(processor: Processor, gate: str, on: Sequence[int], pauli_error: float | None) -> GateCalibration:
    found = GateCalibration(gate=gate, qubits=on, duration=processor.durations[gate])
    if pauli_error is not None:
        found.error = _average_error(pauli_error, len(on))
    return found


def _pauli_error(gate: str) -> str:
    return f"two_qubit_parallel_{_TWO_QUBIT_GATES[gate]}_gate_xeb_pauli_error_per_cycle"


def _average_error(pauli_error: float, qubits: int) -> float:
    """Return the average error of a gate, from the probability of a Pauli error: d/(d + 1) of it with d = 2^n."""
    size = 1 << qubits
    return pauli_error * size / (size + 1)
