# SPDX-License-Identifier: Apache-2.0
"""Noise on every device that has it: the distribution of the density-matrix reference, exactly or by a chi-square test.

The programs distinguish mistakes: which qubit and which order of qubits a channel has, which side of a readout error,
and whether errors act before conditions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from scipy.stats import chi2

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Outcome
from qonduit_server.ir.noise_pass import with_noise
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompileOptions
from tests.contract.rpc_fixture import QASM2
from tests.corpus.noisy.cases import damping, depolarized, error, flip, kraus
from tests.corpus.noisy.references import FOLDER, files
from tests.corpus.noisy.verdicts import judge_noisy, noisy_devices, noisy_entries
from tests.unit.ir import noise_reference as reference
from tests.unit.ir.noise_circuits import close, distribution
from tests.unit.ir.noise_reference import CX, H, I, Kraus, Measure, Readout, X, Y, Z, gate, ry

SHOTS: Final = 4000
SEED: Final = 20260411
#: A right result is rejected this often.
FALSE_ALARM: Final = 1e-6


class Probe(NamedTuple):
    """A program, its noise, and the same written for the reference."""

    name: str
    program: str
    noise: dict[str, Any]
    qubits: int
    wanted: list[Any]
    pauli: bool = False


def text(qubits: int, *lines: str, bits: int = 0) -> str:
    bits = bits or qubits
    registers = "".join(f"creg c{k}[1];" for k in range(bits))
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; {registers}\n' + "\n".join(lines) + "\n"


PAIR: Final = [np.kron(b, a) for a in damping(0.3) for b in flip(0.1)]
ALL: Final = ("measure q[0] -> c0[0];", "measure q[1] -> c1[0];")


def probes() -> Iterator[Probe]:
    both = [Measure(0, 0), Measure(1, 1)]
    yield Probe(
        "readout", text(2, "x q[0];", *ALL),
        {
            "readoutErrors": [
                {"qubits": [0], "prob1Given0": 0.1, "prob0Given1": 0.3},
                {"qubits": [1], "prob1Given0": 0.2},
            ]
        },
        2, [gate(X, 0), Measure(0, 0), Readout(0, 0.1, 0.3), Measure(1, 1), Readout(1, 0.2, 0.0)], True,
    )  # fmt: skip
    yield Probe(
        "kraus_order", text(2, "ry(1.1) q[1];", "cx q[1],q[0];", *ALL), {"gateErrors": [error(["cx"], kraus(PAIR))]},
        2, [gate(ry(1.1), 1), gate(CX, 1, 0), Kraus(PAIR, (1, 0)), *both],
    )  # fmt: skip
    yield Probe(
        "pauli_order", text(2, "h q[1];", "cx q[1],q[0];", *ALL),
        {"gateErrors": [error(["cx"], {"pauli": {"probabilities": {"IX": 0.2, "YZ": 0.1}}})]},
        2,
        [
            gate(H, 1), gate(CX, 1, 0),
            Kraus([0.7**0.5 * np.eye(4), 0.2**0.5 * np.kron(I, X), 0.1**0.5 * np.kron(Y, Z)], (1, 0)),
            *both,
        ], True,
    )  # fmt: skip
    yield Probe(
        "feed_forward", text(2, "x q[0];", "measure q[0] -> c0[0];", "if(c0==1) x q[1];", "measure q[1] -> c1[0];"),
        {
            "gateErrors": [error(["x"], {"amplitudeDamping": 0.25})],
            "readoutErrors": [{"qubits": [0], "prob1Given0": 0.1, "prob0Given1": 0.05}],
        },
        2,
        [
            gate(X, 0), Kraus(damping(0.25), (0,)), Measure(0, 0), Readout(0, 0.1, 0.05),
            reference.If(lambda bits: bool(bits & 1), [gate(X, 1), Kraus(damping(0.25), (1,))]), Measure(1, 1),
        ],
    )  # fmt: skip
    times = {"t1": 50e-6, "t2": 30e-6, "duration": 20e-6}
    lost = 1 - np.exp(-0.4)
    dephased = (1 - np.exp(-2 / 3 + 0.2)) / 2
    relaxed = [Kraus(damping(float(lost)), (0,)), Kraus(flip(float(dephased), Z), (0,))]
    yield Probe(
        "relaxation", text(2, "h q[0];", "h q[1];", "h q[0];", "h q[1];", *ALL),
        {"gateErrors": [error(["h"], {"thermalRelaxation": times}, 0)]},
        2, [gate(H, 0), *relaxed, gate(H, 0), *relaxed, *both],
    )  # fmt: skip
    yield Probe(
        "own_gate", text(2, "gate pair a,b { h a; cx a,b; }", "pair q[1],q[0];", "s q[0];", *ALL),
        {"gateErrors": [error(["cx"], {"depolarizing": 0.2})]},
        2, [gate(H, 1), gate(CX, 1, 0), depolarized(0.2, (1, 0)), *both], True,
    )  # fmt: skip
    for seed in range(4):
        yield drawn(seed)


def drawn(seed: int) -> Probe:
    """Return a random program with measurements in the middle."""
    draw = np.random.default_rng(seed)
    lines, wanted = list[str](), list[Any]()
    for step in range(12):
        a, b = (int(each) for each in draw.permutation(3)[:2])
        if step % 5 == 4:
            lines.append(f"measure q[{a}] -> c{step // 5}[0];")
            wanted += [Measure(a, step // 5), *([Readout(step // 5, 0.05, 0.2)] if a == 1 else [])]
        elif step % 2:
            lines.append(f"cx q[{a}],q[{b}];")
            wanted += [gate(CX, a, b), Kraus(PAIR, (a, b))]
        else:
            angle = round(float(draw.uniform(0.3, 2.8)), 3)
            lines.append(f"ry({angle}) q[{a}];")
            wanted.append(gate(ry(angle), a))
    for qubit in range(3):
        lines.append(f"measure q[{qubit}] -> c{2 + qubit}[0];")
        wanted += [Measure(qubit, 2 + qubit), *([Readout(2 + qubit, 0.05, 0.2)] if qubit == 1 else [])]
    noise = {
        "gateErrors": [error(["cx"], kraus(PAIR))],
        "readoutErrors": [{"qubits": [1], "prob1Given0": 0.05, "prob0Given1": 0.2}],
    }
    return Probe(f"random_{seed}", text(3, *lines, bits=5), noise, 3, wanted)


@pytest.mark.parametrize("probe", list(probes()), ids=lambda probe: probe.name)
def test_the_noise_pass_gives_the_distribution_of_the_reference(probe: Probe) -> None:
    circuit = Languages().read(QASM2, probe.program, b"", {})
    noisy = with_noise(circuit, ParseDict(probe.noise, NoiseModel()))
    assert close(distribution(noisy.quantum), reference.distribution(probe.qubits, probe.wanted))


@pytest.mark.parametrize(("name", "device"), noisy_devices())
def test_a_device_with_noise_gives_the_distribution_of_the_reference(name: str, device: str) -> None:
    provider = registry.get(name)
    provider.load()
    languages = Languages()
    for probe in probes():
        if device == "stim" and not probe.pauli:  # simulates Clifford gates with Pauli errors only
            continue
        circuit = languages.read(QASM2, probe.program, b"", {})
        noisy = with_noise(circuit, ParseDict(probe.noise, NoiseModel()))
        wanted = reference.distribution(probe.qubits, probe.wanted)
        compiled = provider.compile(noisy, device)
        (outcome,) = [each for each in provider.run(device, [compiled], SHOTS, SEED) if isinstance(each, Outcome)]
        assert chi_square(wanted, outcome) > FALSE_ALARM, f"{probe.name}: {dict(outcome.counts)} for {wanted}"
        exact = provider.probabilities(device, compiled)
        if exact is not None:
            found = {key: exact.get(key, 0.0) for key in {*exact, *wanted}}
            assert found == pytest.approx({key: wanted.get(key, 0.0) for key in found}, abs=1e-7), probe.name


def noisy_methods() -> list[tuple[str, str, str]]:
    """Return every method that has noise, by provider and device."""
    return [
        (name, device.name, method.name)
        for name, wanted in noisy_devices()
        for device in registry.get(name).describe().devices
        if device.name == wanted
        for method in device.capabilities.methods
        if method.noise
    ]


def test_the_noisy_methods_are_known() -> None:
    found = {f"{name}/{device} {method}" for name, device, method in noisy_methods()}
    assert found >= {
        "AWS/braket_dm density_matrix",
        "AWS/braket_dm trajectories",
        "GOOGLE/cirq_density_matrix density_matrix",
        "GOOGLE/cirq_density_matrix trajectories",
        "GOOGLE/cirq_simulator trajectories",
        "IBM/aer_simulator density_matrix",
        "IBM/aer_simulator stabilizer",
        "STIM/stim stabilizer",
    }


@pytest.mark.parametrize(("name", "device", "method"), noisy_methods())
def test_a_method_that_is_named_gives_the_distribution_of_the_reference(name: str, device: str, method: str) -> None:
    provider = registry.get(name)
    provider.load()
    pauli = method == "stabilizer"
    probe = next(each for each in probes() if each.name == ("pauli_order" if pauli else "kraus_order"))
    circuit = Languages().read(QASM2, probe.program, b"", {})
    noisy = with_noise(circuit, ParseDict(probe.noise, NoiseModel()))
    compiled = provider.compile(noisy, device, CompileOptions(simulation=SimulationOptions(method=method)))
    (outcome,) = [each for each in provider.run(device, [compiled], SHOTS, SEED) if isinstance(each, Outcome)]
    assert outcome.meta_data["method"] == method
    wanted = reference.distribution(probe.qubits, probe.wanted)
    assert chi_square(wanted, outcome) > FALSE_ALARM, f"{dict(outcome.counts)} for {wanted}"


@pytest.mark.parametrize(("name", "device"), noisy_devices())
def test_the_noisy_corpus(name: str, device: str) -> None:
    provider = registry.get(name)
    provider.load()
    languages = Languages()
    for entry in noisy_entries():
        verdict = judge_noisy(entry, languages, provider, device)
        wanted = "refused" if device == "stim" and not entry.pauli else "identical"
        assert verdict.kind == wanted, f"{entry.case} in {entry.language}: {verdict}"


def test_the_files_of_the_noisy_corpus_follow_from_its_cases() -> None:
    written = files()
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json")}
    assert found == set(written)
    for name, text in written.items():
        assert (FOLDER / name).read_text() == text, f"{name}: write it by `python -m tests.corpus.noisy`"


def chi_square(wanted: dict[int, float], outcome: Outcome) -> float:
    """Return the probability of counts that differ at least so much; 0 if an impossible outcome was seen."""
    if any(wanted.get(key, 0.0) < 1e-9 for key in outcome.counts):
        return 0.0
    large = {key: p for key, p in wanted.items() if p * SHOTS >= 5}
    rest = 1 - sum(large.values())
    pairs = [(outcome.counts.get(key, 0), p * SHOTS) for key, p in large.items()]
    if rest * SHOTS > 1:
        pairs.append((SHOTS - sum(seen for seen, _ in pairs), rest * SHOTS))
    return float(chi2.sf(sum((seen - p) ** 2 / p for seen, p in pairs), max(1, len(pairs) - 1)))
