# SPDX-License-Identifier: Apache-2.0
"""Google's virtual processors as the files of cirq-google describe them: read without importing a quantum SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from qonduit.v1.calibration_pb2 import CoupledQubits, DeviceCalibration, GateCalibration, QubitCalibration

#: The files of each processor, in `specifications` and `calibrations`, and the time of the calibration in milliseconds,
#: which is not in the file. All three as in cirq_google.engine.virtual_engine_factory (1.7).
_FILES: Final = {
    "rainbow": ("rainbow_2021_12_10", "rainbow_2021_11_16", 1637058415838),
    "weber": ("weber_2021_12_10", "weber_2021_11_03", 1635923188204),
    "willow_pink": ("willow_pink_d7v1-2024_08_16", "willow_pink_d7v1-2024_08_16", 1723795877630),
}
#: Names of native gates: in a specification and here. The gate "u" is any gate for one qubit, "rz" costs nothing.
_ONE_QUBIT_GATES: Final = {"virtual_zpow": "rz", "phased_xz": "u"}
#: Native gates for two qubits, with their name in metrics. One that was not measured is not offered: it would have no
#: error. So rainbow and weber have no CZ.
_TWO_QUBIT_GATES: Final = {
    "cz": "cz",
    "syc": "sycamore",
    "sqrt_iswap": "sqrt_iswap",
    "sqrt_iswap_inv": "sqrt_iswap",
}
#: Some specifications contain 4 ms; Cirq's noise takes 4 us.
_LONGEST_READOUT: Final = 4e-6
_PICO: Final = 1e-12
_TOKEN: Final = re.compile(r'(\w+)\s*(\{|:\s*(?:"([^"]*)"|(\S+)))|\}')


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
        metrics: the file of its calibration.
    """

    name: str
    qubits: tuple[str, ...]
    basis_gates: tuple[str, ...]
    two_qubit_gates: tuple[str, ...]
    durations: Mapping[str, float]
    coupling_map: tuple[tuple[int, int], ...]
    metrics: Path

    @property
    def num_qubits(self) -> int:
        """How many qubits it has."""
        return len(self.qubits)


@cache
def processors() -> Mapping[str, Processor]:
    """Return the processors by name; none if their package is not installed."""
    spec = find_spec("cirq_google")
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(spec.submodule_search_locations[0], "devices")
    found = {}
    for name, (specification, metrics, _) in _FILES.items():
        shape = folder / "specifications" / f"{specification}_device_spec_for_grid_device.proto.txt"
        values = folder / "calibrations" / f"{metrics}_calibration.json"
        if shape.is_file() and values.is_file():
            found[name] = _processor(name, shape.read_text("utf-8"), values)
    return found


def _processor(name: str, specification: str, metrics: Path) -> Processor:
    fields = _parse(_TOKEN.finditer(specification))
    qubits = sorted((value for key, value in fields if key == "valid_qubits"), key=_place)
    number = {qubit: place for place, qubit in enumerate(qubits)}
    pairs = set()
    for kind in (value for key, value in fields if key == "valid_targets"):
        for target in (value for key, value in kind if key == "targets"):
            on = [number[value] for key, value in target if key == "ids"]
            if len(on) == 2:
                pairs |= {(on[0], on[1]), (on[1], on[0])}
    times: dict[str, float] = {}
    for gate in (value for key, value in fields if key == "valid_gates"):
        (kind,) = (key for key, value in gate if isinstance(value, list))
        times[kind] = float(dict(gate).get("gate_duration_picos", 0)) * _PICO
    measured = _metrics(metrics)
    two_qubit_gates = tuple(
        gate for gate, metric in _TWO_QUBIT_GATES.items() if gate in times and _pauli_error(metric) in measured
    )
    durations = {gate: times[kind] for kind, gate in _ONE_QUBIT_GATES.items()}
    durations |= {gate: times[gate] for gate in two_qubit_gates}
    durations["measure"] = min(times["meas"], _LONGEST_READOUT)
    if "reset" in times:
        durations["reset"] = times["reset"]
    basis = (*_ONE_QUBIT_GATES.values(), *two_qubit_gates)
    return Processor(name, tuple(qubits), basis, two_qubit_gates, durations, tuple(sorted(pairs)), metrics)


def _parse(tokens: Iterator[re.Match[str]]) -> list[tuple[str, Any]]:
    """Return the fields of a message in protobuf's text format, messages as lists of fields."""
    fields: list[tuple[str, Any]] = []
    for token in tokens:
        name, value, quoted, plain = token.groups()
        if name is None:
            break
        fields.append((name, _parse(tokens) if value == "{" else plain if quoted is None else quoted))
    return fields


def _place(qubit: str) -> tuple[int, ...]:
    return tuple(int(each) for each in qubit.split("_"))


def _pauli_error(metric: str) -> str:
    return f"two_qubit_parallel_{metric}_gate_xeb_pauli_error_per_cycle"


@cache
def _metrics(path: Path) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    """Return the values of each metric, by the names of qubits."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in json.loads(path.read_text("utf-8"))["metrics"]["metrics"]:
        found.setdefault(metric["name"], {})[tuple(metric["targets"])] = metric["values"][0]["doubleVal"]
    return found


@cache
def calibration(name: str) -> DeviceCalibration:
    """Return the calibration of a processor; callers must not change it."""
    processor = processors()[name]
    found = DeviceCalibration(
        qubits=[_qubit(processor, number) for number in range(processor.num_qubits)],
        gates=_gates(processor),
        coupling_map=[CoupledQubits(first=first, second=second) for first, second in processor.coupling_map],
    )
    found.calibrated_at.FromMilliseconds(_FILES[name][2])
    return found


def _qubit(processor: Processor, number: int) -> QubitCalibration:
    metrics, name = _metrics(processor.metrics), processor.qubits[number]

    def value(metric: str) -> float:
        return metrics[metric][name,]

    t1 = value("single_qubit_idle_t1_micros") * 1e-6
    # As Cirq's noise: what relaxation does not explain of the incoherent error of a gate is pure dephasing.
    time = processor.durations["u"]
    dephasing = 3 * value("single_qubit_rb_incoherent_error_per_gate") / time - 1 / t1
    return QubitCalibration(
        qubit=number,
        name=name,
        t1=t1,
        t2=1 / (1 / (2 * t1) + max(0.0, dephasing)),
        prob_1_given_0=value("single_qubit_p00_error"),
        prob_0_given_1=value("single_qubit_p11_error"),
        readout_duration=processor.durations["measure"],
    )


def _gates(processor: Processor) -> Iterator[GateCalibration]:
    metrics, durations = _metrics(processor.metrics), processor.durations
    pauli = metrics["single_qubit_rb_pauli_error_per_gate"]
    for number, name in enumerate(processor.qubits):
        yield GateCalibration(gate="rz", qubits=[number], error=0.0, duration=0.0)
        for gate in ("u", "reset"):
            if gate in durations:
                error = _average_error(pauli[name,], 1)
                yield GateCalibration(gate=gate, qubits=[number], error=error, duration=durations[gate])
    for gate in processor.two_qubit_gates:
        errors = metrics[_pauli_error(_TWO_QUBIT_GATES[gate])]
        for pair in processor.coupling_map:
            names = tuple(processor.qubits[number] for number in pair)
            measured = errors.get(names, errors.get(names[::-1]))
            coupled = GateCalibration(gate=gate, qubits=pair, duration=durations[gate])
            if measured is not None:
                coupled.error = _average_error(measured, 2)
            yield coupled


def _average_error(pauli_error: float, qubits: int) -> float:
    """Return the average error of a gate, from the probability of a Pauli error: d/(d + 1) of it with d = 2^n."""
    size = 1 << qubits
    return pauli_error * size / (size + 1)
