# SPDX-License-Identifier: Apache-2.0
"""Each channel of the IR against its textbook definition, on every entry of a density matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.noise import Channel
from tests.unit.ir import noise_reference as reference
from tests.unit.ir.noise_reference import Matrix, X, Y, Z

RHO = np.array([[0.35, 0.2 - 0.3j], [0.2 + 0.3j, 0.65]])


def applied(channel: Channel, rho: Matrix) -> Matrix:
    """Let a channel act on a density matrix, whose qubits are in the order of the channel's."""
    size = channel.num_qubits
    tensor = rho.reshape((2,) * (2 * size))
    # The reference keeps qubit k on axis k: the lowest bit comes last in a reshaped matrix.
    order = [*reversed(range(size)), *reversed(range(size, 2 * size))]
    return reference.channel(channel.kraus, range(size), tensor.transpose(order)).transpose(order).reshape(rho.shape)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (noise.bit_flip(0.3), 0.7 * RHO + 0.3 * X @ RHO @ X),
        (noise.phase_flip(0.2), 0.8 * RHO + 0.2 * Z @ RHO @ Z),
        (noise.depolarizing(0.3), 0.7 * RHO + 0.15 * np.eye(2)),
        (noise.depolarizing(4 / 3), (X @ RHO @ X + Y @ RHO @ Y + Z @ RHO @ Z) / 3),
        (noise.amplitude_damping(0.4), [[0.35 + 0.4 * 0.65, RHO[0, 1] * 0.6**0.5], [RHO[1, 0] * 0.6**0.5, 0.6 * 0.65]]),
        (noise.phase_damping(0.4), [[0.35, RHO[0, 1] * 0.6**0.5], [RHO[1, 0] * 0.6**0.5, 0.65]]),
        (
            noise.generalized_amplitude_damping(0.4, 0.25),
            [[0.6 * 0.35 + 0.4 * 0.75, RHO[0, 1] * 0.6**0.5], [RHO[1, 0] * 0.6**0.5, 0.6 * 0.65 + 0.4 * 0.25]],
        ),
        (
            noise.thermal_relaxation(50e-6, 30e-6, 20e-6),
            [
                [1 - 0.65 * math.exp(-0.4), RHO[0, 1] * math.exp(-2 / 3)],
                [RHO[1, 0] * math.exp(-2 / 3), 0.65 * math.exp(-0.4)],
            ],
        ),
        (
            noise.thermal_relaxation(1e-6, 2e-6, 1e-6),
            [[1 - 0.65 / math.e, RHO[0, 1] * math.exp(-0.5)], [RHO[1, 0] * math.exp(-0.5), 0.65 / math.e]],
        ),
        (noise.thermal_relaxation(math.inf, 1.0, 2.0), [[0.35, RHO[0, 1] / math.e**2], [RHO[1, 0] / math.e**2, 0.65]]),
        (noise.thermal_relaxation(math.inf, math.inf, 2.0), RHO),
        (noise.thermal_relaxation(1e-6, 1e-6, 0.0), RHO),
        (
            noise.pauli({"X": 0.1, "Y": 0.2, "Z": 0.3}),
            0.4 * RHO + 0.1 * X @ RHO @ X + 0.2 * Y @ RHO @ Y + 0.3 * Z @ RHO @ Z,
        ),
        (noise.kraus([0.6 * np.eye(2), 0.8 * Y]), 0.36 * RHO + 0.64 * Y @ RHO @ Y),
    ],
    ids=lambda value: value.kind if isinstance(value, Channel) else "",
)
def test_a_channel_does_what_textbooks_say(channel: Channel, expected: Matrix) -> None:
    assert np.allclose(applied(channel, RHO), np.array(expected), atol=1e-12)
    assert np.allclose(sum(each.conj().T @ each for each in channel.kraus), np.eye(2), atol=1e-12)


@pytest.mark.parametrize("qubits", [2, 3, 4])
def test_depolarizing_mixes_all_qubits_alike(qubits: int) -> None:
    side = 2**qubits
    state = np.arange(1, side + 1) * np.exp(1j * np.arange(side))
    rho = np.outer(state, state.conj()) / np.vdot(state, state)
    assert np.allclose(applied(noise.depolarizing(0.3, qubits), rho), 0.7 * rho + 0.3 * np.eye(side) / side)


def test_the_last_letter_of_a_pauli_string_is_qubit_0() -> None:
    channel = noise.pauli({"IX": 1.0})
    assert reference.distribution(
        2, [reference.Kraus(channel.kraus, (0, 1)), reference.Measure(0, 0), reference.Measure(1, 1)]
    ) == {0b01: 1.0}
    assert noise.pauli({"XZ": 0.25}).paulis == {"II": 0.75, "XZ": 0.25}


def test_the_least_bit_of_a_matrix_is_qubit_0() -> None:
    flips_0 = np.kron(np.eye(2), X)
    program = [reference.Kraus(noise.kraus([flips_0]).kraus, (2, 0)), *(reference.Measure(k, k) for k in range(3))]
    assert reference.distribution(3, program) == {0b100: 1.0}


def test_channels_are_equal_if_their_operators_are() -> None:
    assert noise.bit_flip(0.1) == noise.pauli({"X": 0.1})
    assert noise.bit_flip(0.1) != noise.bit_flip(0.2)
    assert noise.bit_flip(0.1) != noise.depolarizing(0.1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: noise.bit_flip(1.1), "bit flip must be between 0 and 1, got 1.1"),
        (lambda: noise.phase_flip(math.nan), "phase flip must be between 0 and 1, got nan"),
        (lambda: noise.depolarizing(1.1, 2), "depolarizing on 2 qubits must be between 0 and 1.06667"),
        (lambda: noise.depolarizing(0.1, 5), "1 to 4 qubits, got 5"),
        (lambda: noise.amplitude_damping(-0.1), "between 0 and 1, got -0.1"),
        (lambda: noise.phase_damping(2), "between 0 and 1, got 2"),
        (lambda: noise.generalized_amplitude_damping(0.1, 1.5), "excited population"),
        (lambda: noise.thermal_relaxation(1.0, 2.1, 1.0), "at most 2 t1"),
        (lambda: noise.thermal_relaxation(0.0, 1.0, 1.0), "t1 > 0"),
        (lambda: noise.thermal_relaxation(1.0, 1.0, math.inf), "duration >= 0"),
        (lambda: noise.thermal_relaxation(math.nan, 1.0, 1.0), "t1 > 0"),
        (lambda: noise.pauli({}), "must contain a Pauli string"),
        (lambda: noise.pauli({"XX": 0.1, "X": 0.1}), "the same length"),
        (lambda: noise.pauli({"A": 0.1}), "letters I, X, Y, Z"),
        (lambda: noise.pauli({"X": 0.6, "Y": 0.6}), "must not exceed 1, got 1.2"),
        (lambda: noise.kraus([]), "must contain a Kraus operator"),
        (lambda: noise.kraus([np.eye(2), np.eye(4)]), "square matrices of one size"),
        (lambda: noise.kraus([np.eye(3)]), "a power of 2"),
        (lambda: noise.kraus([0.9 * np.eye(2)]), "must be the identity within 1e-08"),
        (lambda: noise.kraus([np.full((2, 2), math.nan)]), "must be the identity"),
        (lambda: noise.kraus([np.eye(32)]), "1 to 4 qubits"),
        (lambda: noise.ReadoutError(0.1, 1.2), "readout error must be between 0 and 1, got 1.2"),
    ],
)
def test_what_is_no_channel_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        make()
    assert caught.value.reason == "INVALID_NOISE"
    assert message in caught.value.message


def test_the_reference_agrees_with_itself_in_any_order_of_qubits() -> None:
    damping = [np.diag([1, 0.6]), np.array([[0, 0.8], [0, 0]])]
    pair = [np.kron(b, a) for a, b in product(damping, (0.6 * reference.I, 0.8 * X))]
    start = [reference.gate(reference.ry(1.1), 2), reference.gate(reference.CX, 2, 0)]
    ends = [reference.Measure(0, 0), reference.Measure(2, 1)]
    whole = reference.distribution(3, [*start, reference.Kraus(pair, (2, 0)), *ends])
    apart = [reference.Kraus(damping, (2,)), reference.Kraus((0.6 * reference.I, 0.8 * X), (0,))]
    assert whole == pytest.approx(reference.distribution(3, [*start, *apart, *ends]), abs=1e-12)


@pytest.mark.parametrize("qubits", [1, 2, 3])
def test_operators_that_are_pauli_strings_are_a_mixture(qubits: int) -> None:
    draw = np.random.default_rng(qubits)
    labels = ["".join(each) for each in product("IXYZ", repeat=qubits)]
    chosen = [str(each) for each in draw.permutation(labels)[: 3 * qubits]]
    wanted = dict(zip(chosen, draw.dirichlet(np.ones(len(chosen))), strict=True))
    phases = np.exp(1j * draw.uniform(0, 6, len(chosen)))
    operators = [t * p**0.5 * noise.pauli_matrix(each) for t, (each, p) in zip(phases, wanted.items(), strict=True)]
    channel = noise.kraus(operators)
    assert channel.paulis == pytest.approx(wanted)
    assert list(channel.paulis or ()) == chosen, "the order is that of the operators"
    assert all(np.array_equal(a, b) for a, b in zip(channel.kraus, operators, strict=True))


@pytest.mark.parametrize(
    "operators",
    [
        [np.diag([1, 0.6**0.5]), np.diag([0, 0.4**0.5])],
        [0.5**0.5 * np.eye(2), 0.5**0.5 * np.eye(2)],
        [np.diag([1, 1j])],
        [np.array([[0, 1], [1j, 0]])],
        [np.array([[1, 1], [1, -1]]) / 2**0.5],
        [np.eye(2), np.zeros((2, 2))],
        [np.diag([1, 1, 1, -1])],
    ],
)
def test_operators_that_are_not_pauli_strings_are_no_mixture(operators: list[Matrix]) -> None:
    assert noise.kraus(operators).paulis is None
