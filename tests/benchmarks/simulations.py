# SPDX-License-Identifier: Apache-2.0
"""Benchmark simulation methods against the bare SDKs with the method chosen by hand, in one process for each kind.

`python -m tests.benchmarks.simulations KIND ROUNDS` prints lines of JSON: the name, the CPU seconds of each round, and
the goal of their ratio. Qonduit's time is what a worker does for a program that it has read: choice of the method,
compilation, run and counts. The reference's circuits are brought into its own gates before the time is taken.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit, qasm2, transpile
from qiskit_aer import AerSimulator

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.provider import CompileOptions, SimulatorProvider
from tests.benchmarks import programs
from tests.unit.providers import aer_samples as samples

SHOTS = 1000
_CLIFFORD = ("h", "s", "sdg", "x", "y", "z", "sx", "sxdg", "cx", "cy", "cz", "swap")
_PAIRS = ("h", "t", "tdg", "s", "sdg", "x", "y", "z", "sx", "p", "u", "rx", "ry", "rz", "cx", "cz", "cp", "swap", "rzz")
#: By method. `transpile(circuit, AerSimulator())` itself refuses wide circuits.
_GATES = {
    "automatic": _CLIFFORD,
    "stabilizer": _CLIFFORD,
    "matrix_product_state": _PAIRS,
    "statevector": (*_PAIRS, "ccx"),
}


@dataclass
class Comparison:
    """A measurement: Qonduit's work, the reference's, what the reference is, and the goal of the ratio."""

    what: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    reference: str
    goal: str = ""
    rounds: int = 0


def run(provider: SimulatorProvider, device: str, circuit: Circuit, shots: int = SHOTS, **simulation: Any) -> Outcome:
    """Compile and run a circuit as a worker does.

    Raises:
        RunError: the device cannot run it.
    """
    options = CompileOptions(0, shots=1 << shots.bit_length(), simulation=SimulationOptions(**simulation))
    *_, outcome = provider.run(device, [provider.compile(circuit, device, options)], shots, None)
    if not isinstance(outcome, Outcome):
        assert isinstance(outcome, RunError)
        raise outcome
    assert sum(outcome.counts.values()) == shots
    return outcome


def loaded(name: str) -> SimulatorProvider:
    """Return a provider whose SDK is loaded."""
    provider = registry.get(name)
    provider.load()
    return provider


def _aer_comparison(
    name: str, circuit: QuantumCircuit, method: str, goal: str, provider: SimulatorProvider, backend: AerSimulator
) -> Comparison:
    native = transpile(circuit, basis_gates=_GATES[method], optimization_level=0)
    return Comparison(
        name,
        lambda: run(provider, "aer_simulator", Circuit(circuit, ()), allow_approximate=True),
        lambda: backend.run(native, shots=SHOTS, method=method).result().get_counts(),
        f"Aer, {method}",
        goal,
    )


def methods() -> Iterator[Comparison]:
    """Aer's methods on circuits of known families."""
    provider, backend = loaded("IBM"), AerSimulator(max_parallel_threads=1)
    families = [
        ("ghz_n23", samples.ghz(23), "automatic", "<= 1.0"),
        ("ghz_n127", samples.ghz(127), "stabilizer", "<= 1.5"),
        ("bv_n280", samples.bernstein_vazirani(280, (1 << 279) - 1), "stabilizer", "<= 1.5"),
        *(
            (f"random Clifford, {qubits} qubits", samples.random_clifford(qubits, 10, 1), "stabilizer", "<= 1.5")
            for qubits in (31, 50, 100)
        ),
        ("adder_n64", samples.adder(31, 5, 9), "matrix_product_state", "<= 1.5"),
        ("ising_n66", samples.ising(66), "matrix_product_state", "<= 1.5"),
        ("wstate_n36", samples.w_state(36), "matrix_product_state", "<= 1.5"),
        ("knn_n67", samples.swap_test(33), "matrix_product_state", "<= 1.5"),
    ]
    for name, circuit, method, goal in families:
        yield _aer_comparison(name, circuit, method, goal, provider, backend)


def qasmbench(file: str) -> Iterator[Comparison]:
    """Compare one OpenQASM 2 file of a folder; the reference gets the method that Qonduit chose."""
    text = Path(file).read_text()
    provider, backend, reading = loaded("IBM"), AerSimulator(max_parallel_threads=1), Languages()
    circuit = reading.read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text, b"", {})
    options = CompileOptions(0, shots=1024, simulation=SimulationOptions(allow_approximate=True))
    program = provider.compile(circuit, "aer_simulator", options).native
    assert isinstance(program, AerProgram)
    bare = qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    native = transpile(bare, basis_gates=_GATES[program.method], optimization_level=0)
    yield Comparison(
        Path(file).stem,
        lambda: run(provider, "aer_simulator", circuit, allow_approximate=True),
        lambda: backend.run(native, shots=SHOTS, method=program.method).result().get_counts(),
        f"Aer, {program.method}",
    )


def slices() -> Iterator[Comparison]:
    """Runs that emit progress, against one call of Aer with the same program and all shots."""
    provider, backend = loaded("IBM"), AerSimulator(max_parallel_threads=1)
    for method, circuit, shots in (
        ("trajectories", samples.noisy(samples.layered(10, 3), readout=False), 8000),
        ("stabilizer", samples.noisy(samples.random_clifford(30, 5, 1), pauli=True, readout=False), 5000),
    ):
        options = CompileOptions(0, shots=1 << shots.bit_length(), simulation=SimulationOptions(method=method))
        compiled = provider.compile(Circuit(circuit, ()), "aer_simulator", options)
        program = compiled.native
        assert isinstance(program, AerProgram)
        assert program.kind is Kind.SHOTS

        def whole(program: AerProgram = program, shots: int = shots) -> object:
            result = backend.run(program.circuit, shots=shots, max_parallel_shots=1, **program.options).result()
            return result.get_counts()

        yield Comparison(
            f"{shots} shots in slices, {method}",
            lambda compiled=compiled, shots=shots: list(provider.run("aer_simulator", [compiled], shots, None)),
            whole,
            "one call of Aer",
            "<= 1.02",
            3,
        )


def stim() -> Iterator[Comparison]:
    """STIM/stim on 1,000 qubits, against Stim itself."""
    import stim as sdk

    provider, circuit = loaded("STIM"), Circuit(samples.ghz(1000), ())
    chain = (f"CX {qubit} {qubit + 1}" for qubit in range(999))
    bare = sdk.Circuit("\n".join(("H 0", *chain, f"M {' '.join(map(str, range(1000)))}")))

    def counts() -> object:
        import numpy as np

        packed = bare.compile_sampler().sample_bit_packed(SHOTS)
        return np.unique(packed, axis=0, return_counts=True)

    yield Comparison("GHZ, 1,000 qubits", lambda: run(provider, "stim", circuit), counts, "Stim", "")


def qsim() -> Iterator[Comparison]:
    """GOOGLE/qsim_simulator against qsim, and against Aer in double precision."""
    import cirq
    import qsimcirq

    google, reading = loaded("GOOGLE"), Languages()
    backend = AerSimulator(method="statevector", max_parallel_threads=1)
    bare = qsimcirq.QSimSimulator(qsimcirq.QSimOptions(max_fused_gate_size=3, cpu_threads=1))
    for qubits, rounds in ((20, 0), (22, 3), (24, 1)):
        text = programs.layered(qubits, 10 if qubits < 24 else 6)
        circuit = reading.read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text, b"", {})
        written = reading.write(AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ, circuit).source
        native, wide = cirq.read_json(json_text=str(written)), qasm2.loads(text)

        def ours(circuit: Circuit = circuit) -> object:
            return run(google, "qsim_simulator", circuit)

        name = f"qsim_simulator, {qubits} qubits"
        yield Comparison(
            name, ours, lambda native=native: bare.run(native, repetitions=SHOTS), "qsim", "<= 1.5", rounds
        )
        yield Comparison(
            name,
            ours,
            lambda wide=wide: backend.run(wide, shots=SHOTS).result().get_counts(),
            "Aer, statevector",
            "",
            rounds,
        )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(comparison: Comparison, rounds: int) -> dict[str, object]:
    """Run both sides in turn; the first run of each does not count unless it is the only one."""
    rounds = min(rounds, comparison.rounds or rounds)
    if rounds > 1:
        comparison.theirs()
        comparison.ours()
    times = [(_seconds(comparison.theirs), _seconds(comparison.ours)) for _ in range(rounds)]
    return {
        "what": comparison.what,
        "theirs": [a for a, _ in times],
        "ours": [b for _, b in times],
        "reference": comparison.reference,
        "goal": comparison.goal,
    }


def main(kind: str, rounds: int) -> None:
    """Measure one kind, or one file of OpenQASM 2."""
    kinds = {"methods": methods, "slices": slices, "stim": stim, "qsim": qsim}
    for comparison in kinds[kind]() if kind in kinds else qasmbench(kind):
        print(json.dumps(measure(comparison, rounds)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
