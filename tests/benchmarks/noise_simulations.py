# SPDX-License-Identifier: Apache-2.0
"""Noise and shaped devices against the SDKs' own simulations of the same noise: their time, and their distributions.

`python -m tests.benchmarks.noise_simulations KIND ROUNDS` prints lines of JSON, as `simulations` does. Lines about an
agreement have `difference`: the largest difference of a probability (exact methods), or of the probability that a qubit
gives 1 (counts).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from google.protobuf.json_format import ParseDict
from qiskit import QuantumCircuit, transpile
from qiskit_aer import AerSimulator

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.noise_pass import with_noise
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompileOptions
from tests.benchmarks.simulations import SHOTS, Comparison, loaded, measure, run
from tests.unit.providers import aer_samples as samples

QUBITS = 8
#: Wide enough that a density matrix costs more than the shots.
_WIDE, _FEW_SHOTS = 14, 200
_TWO, _DAMPING = 0.02, 0.05
_MODEL = {
    "gateErrors": [
        {"gates": ["cx"], "channel": {"depolarizing": _TWO}},
        {"gates": ["ry"], "channel": {"amplitudeDamping": _DAMPING}},
    ]
}


def _chain(qubits: int, *, measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    for layer in range(3):
        for qubit in range(qubits):
            circuit.ry(0.4 + 0.1 * qubit + layer, qubit)
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return samples.measured(circuit) if measured else circuit


def _steps() -> Iterator[tuple[str, list[float], list[int]]]:
    """Yield the gates of the circuit, for circuits of other SDKs."""
    circuit = _chain(QUBITS, measured=False)
    for instruction in circuit.data:
        places = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        yield instruction.operation.name, list(instruction.operation.params), places


class _Noisy:
    """A circuit and the same noise for Qonduit and for an SDK: what each side runs, and its exact probabilities.

    Probabilities are indexed by outcome; bit k is qubit k.
    """

    def __init__(self, device: str, ours: Circuit, theirs: Callable[[], object], exact: Callable[[], Any]) -> None:
        provider, _, self._device = device.partition("/")
        self._provider = loaded(provider)
        self.name, self._circuit, self.theirs, self._exact = device, ours, theirs, exact

    def ours(self) -> object:
        return run(self._provider, self._device, self._circuit)

    def lines(self, reference: str, rounds: int) -> Iterator[dict[str, object]]:
        what = f"noise, {QUBITS} qubits, {self.name}"
        yield measure(Comparison(what, self.ours, self.theirs, reference, "<= 1.5"), rounds)
        options = CompileOptions(0, shots=1 << SHOTS.bit_length())
        compiled = self._provider.compile(self._circuit, self._device, options)
        found = self._provider.probabilities(self._device, compiled)
        assert found is not None
        given = np.zeros(1 << QUBITS)
        for outcome, probability in found.items():
            given[outcome] = probability
        yield {
            "what": f"{what}, agreement",
            "difference": float(np.abs(given - self._exact()).max()),
            "reference": reference,
            "goal": "<= 1e-7",
        }


def _aer_noise(qubits: int) -> Any:
    """Return the noise model in Aer's own form. Aer's depolarizing parameter is the same as the contract's."""
    from qiskit_aer import noise

    model = noise.NoiseModel()
    model.add_all_qubit_quantum_error(noise.depolarizing_error(_TWO, 2), ["cx"])
    model.add_all_qubit_quantum_error(noise.amplitude_damping_error(_DAMPING), ["ry"])
    return model


def aer(rounds: int) -> Iterator[dict[str, object]]:
    """Aer: a density matrix, and trajectories of a wider circuit."""
    model = ParseDict(_MODEL, NoiseModel())
    backend = AerSimulator(max_parallel_threads=1)
    own = _aer_noise(QUBITS)
    bare, saved = _chain(QUBITS), _chain(QUBITS, measured=False)
    saved.save_probabilities()
    options = {"method": "density_matrix", "noise_model": own}
    yield from _Noisy(
        "IBM/aer_simulator",
        with_noise(Circuit(bare, ()), model),
        lambda: backend.run(bare, shots=SHOTS, **options).result().get_counts(),
        lambda: backend.run(saved, shots=1, **options).result().data()["probabilities"],
    ).lines("Aer, density_matrix", rounds)
    wide = _chain(_WIDE)
    noisy, provider = with_noise(Circuit(wide, ()), model), loaded("IBM")
    ours: list[Mapping[int, int]] = []
    theirs: list[Mapping[int, int]] = []

    def run_ours() -> None:
        ours.append(run(provider, "aer_simulator", noisy, _FEW_SHOTS).counts)

    def run_theirs() -> None:
        done = backend.run(wide, shots=_FEW_SHOTS, method="statevector", noise_model=_aer_noise(_WIDE)).result()
        theirs.append({int(key, 16): number for key, number in done.data()["counts"].items()})

    what = f"noise, {_WIDE} qubits, {_FEW_SHOTS} shots as trajectories, IBM/aer_simulator"
    reference = "Aer, statevector"
    yield measure(Comparison(what, run_ours, run_theirs, reference, "<= 1.5"), rounds)
    shots = _FEW_SHOTS * len(ours)
    difference = float(np.abs(_ones(ours) - _ones(theirs)).max()) / shots
    # Five standard deviations of a difference of two frequencies around 1/2.
    goal = f"<= {5 * (0.5 / shots) ** 0.5:.2g}"
    yield {"what": f"{what}, agreement", "difference": difference, "reference": reference, "goal": goal}


def _ones(runs: list[Mapping[int, int]]) -> Any:
    """Return how often each qubit gave 1."""
    found = np.zeros(_WIDE)
    for counts in runs:
        for outcome, number in counts.items():
            found += [number * (outcome >> qubit & 1) for qubit in range(_WIDE)]
    return found


def braket(rounds: int) -> Iterator[dict[str, object]]:
    """Braket's braket_dm: noise in the program."""
    from braket.circuits import Circuit as BraketCircuit
    from braket.circuits.serialization import IRType
    from braket.devices import LocalSimulator

    circuit = BraketCircuit()
    for name, angles, places in _steps():
        if name == "cx":
            # Braket's parameter is the probability of one of the 15 errors; 1/16 of a replaced state is no error.
            circuit.cnot(*places).two_qubit_depolarizing(*places, _TWO * 15 / 16)
        else:
            circuit.ry(places[0], *angles).amplitude_damping(places[0], _DAMPING)
    device = LocalSimulator("braket_dm")
    text = circuit.to_ir(ir_type=IRType.OPENQASM).source
    exact = circuit.copy().probability()
    yield from _Noisy(
        "AWS/braket_dm",
        Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_BRAKET, text, b"", {}),
        lambda: device.run(circuit, shots=SHOTS).result().measurement_counts,
        lambda: _reversed(device.run(exact, shots=0).result().values[0]),
    ).lines("LocalSimulator, braket_dm", rounds)


def cirq(rounds: int) -> Iterator[dict[str, object]]:
    """Cirq's DensityMatrixSimulator in double precision: noise in the program."""
    import cirq as sdk

    line = sdk.LineQubit.range(QUBITS)
    circuit = sdk.Circuit()
    for name, angles, places in _steps():
        on = [line[place] for place in places]
        if name == "cx":
            circuit.append([sdk.CNOT(*on), sdk.depolarize(_TWO * 15 / 16, n_qubits=2).on(*on)])
        else:
            circuit.append([sdk.ry(*angles)(*on), sdk.amplitude_damp(_DAMPING).on(*on)])
    simulator = sdk.DensityMatrixSimulator(dtype=np.complex128)
    ending = sdk.Circuit(circuit, [sdk.measure(qubit, key=f"m{qubit.x}") for qubit in line])
    yield from _Noisy(
        "GOOGLE/cirq_density_matrix",
        Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ, sdk.to_json(ending), b"", {}),
        lambda: simulator.run(ending, repetitions=SHOTS),
        lambda: _reversed(np.diag(simulator.simulate(circuit).final_density_matrix).real),
    ).lines("DensityMatrixSimulator, complex128", rounds)


def _reversed(probabilities: Any) -> Any:
    """Return probabilities by outcomes whose lowest bit is the first qubit; the SDKs have it as the highest."""
    axes = range(QUBITS - 1, -1, -1)
    return np.asarray(probabilities).reshape((2,) * QUBITS).transpose(*axes).reshape(-1)


def shaped(rounds: int) -> Iterator[dict[str, object]]:
    """GHZ-5 on fake_fez: the first run of a process that has loaded Aer, and the next ones."""
    circuit = samples.ghz(5)
    provider = loaded("IBM")
    kept: dict[str, Any] = {}

    def ours() -> object:
        options = CompileOptions(0, shots=1024, simulation=SimulationOptions())
        *_, outcome = provider.run("fake_fez", [provider.compile(Circuit(circuit, ()), "fake_fez", options)], SHOTS, 7)
        return outcome

    def theirs() -> object:
        if not kept:
            from qiskit_ibm_runtime.fake_provider import FakeFez

            kept["backend"] = FakeFez()
            kept["simulator"] = AerSimulator.from_backend(kept["backend"])
        native = transpile(circuit, kept["backend"], optimization_level=1)
        return kept["simulator"].run(native, shots=SHOTS).result().get_counts()

    reference = "FakeFez, AerSimulator.from_backend"
    yield measure(Comparison("GHZ-5 on fake_fez, first run", ours, theirs, reference, "", rounds=1), 1)
    yield measure(Comparison("GHZ-5 on fake_fez, further runs", ours, theirs, f"{reference}, kept", "<= 1.0"), rounds)


def main(kind: str, rounds: int) -> None:
    """Measure one kind."""
    for line in {"aer": aer, "braket": braket, "cirq": cirq, "shaped": shaped}[kind](rounds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
