# SPDX-License-Identifier: Apache-2.0
"""Convert results of programs to measurements of tapes, with PennyLane's processing of states and samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane import BitFlip
from pennylane.devices import qubit_mixed
from pennylane.devices.qubit import measure_final_state
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, ProbabilityMP, SampleMP, VarianceMP
from pennylane.ops import Sum
from pennylane.tape import QuantumScript
from pennylane.transforms.dynamic_one_shot import gather_mcm
from pennylane.wires import Wires

from qonduit_client.dilation import traced_out
from qonduit_client.pennylane.tape_programs import MEASURED, MID_CIRCUIT, SELECTED, Program

#: What JAX is given in the place of shots that do not count, as its arrays have sizes that are known ahead.
PADDED: Final = "pad-invalid-samples"
_PADDING: Final = np.iinfo(np.int32).min


def from_state(tape: QuantumScript, program: Program, amplitudes: Any, readout_prob: float = 0.0) -> Any:
    """Return the measurements of an analytic tape; those of default.mixed if it has channels or readout errors.

    Args:
        tape: on wires 0, 1, 2 ...
        program: its program.
        amplitudes: 2**qubits complex numbers; bit i of a place is qubit i.
        readout_prob: the probability that a measured bit is flipped.
    """
    state = np.asarray(amplitudes, dtype=complex).reshape((2,) * program.qubits)
    state = state.transpose(tuple(reversed(range(program.qubits)))) * np.exp(1j * program.phase)
    if program.selected:
        state = state[(..., *(slice(None) if each is None else each for each in program.selected))]
        with np.errstate(divide="ignore", invalid="ignore"):  # what cannot be selected gives nan, as in default.qubit
            state = state / np.linalg.norm(state)
    if not readout_prob and not program.noisy:
        return measure_final_state(tape, state, False)
    mixed = traced_out(state, program.wires).reshape((2,) * (2 * program.wires))
    results = tuple(_measured(each, mixed, readout_prob) for each in tape.measurements)
    return results[0] if len(results) == 1 else results


def _measured(measurement: Any, state: Any, readout_prob: float) -> Any:
    """Return a measurement of a density matrix, with readout errors where bits are read."""
    if not readout_prob or not isinstance(measurement, ExpectationMP | VarianceMP | ProbabilityMP):
        return qubit_mixed.measure(measurement, state)
    if isinstance(measurement, ExpectationMP) and isinstance(measurement.obs, Sum):
        terms = zip(*measurement.obs.terms(), strict=True)
        return sum(number * _measured(ExpectationMP(term), state, readout_prob) for number, term in terms)
    if measurement.obs is not None and not measurement.obs.has_diagonalizing_gates:
        raise DeviceError(f"readout_prob needs an observable that is measured bit by bit, got {measurement.obs}")
    for gate in measurement.diagonalizing_gates():
        state = qubit_mixed.apply_operation(gate, state)
    wires = Wires(range(state.ndim // 2))
    for wire in measurement.wires or wires:
        state = qubit_mixed.apply_operation(BitFlip(readout_prob, wire), state)
    return measurement.process_density_matrix(state.reshape(2 ** len(wires), -1), wires)


def from_shots(tape: QuantumScript, program: Program, bits: Mapping[str, NDArray[np.uint8]], mode: str | None) -> Any:
    """Return the measurements of a tape with shots.

    Args:
        tape: on wires 0, 1, 2 ..., with measurements that the program's shots determine.
        program: its program.
        bits: an array (shots, bits) by register.
        mode: PennyLane's `postselect_mode`: shots that do not count are left out, or padded.
    """
    total = tape.shots.total_shots
    nothing = np.zeros((total, 0), dtype=np.uint8)
    samples = bits.get(MEASURED, nothing).astype(np.int64)
    mid_circuit = bits.get(MID_CIRCUIT, nothing).astype(np.int64)
    counts = np.all(bits.get(SELECTED, nothing) == np.array(program.selected, dtype=np.uint8), axis=1)
    for measurement, bit in program.mid_circuit.items():
        if measurement.postselect is not None:
            counts &= mid_circuit[:, bit] == measurement.postselect
    order = Wires(program.measured)
    found = []
    for lower, upper in tape.shots.bins():
        own = counts[lower:upper]
        values = {each: mid_circuit[lower:upper, bit : bit + 1] for each, bit in program.mid_circuit.items()}
        results = tuple(
            _processed(measurement, samples[lower:upper], order, values, own, mode) for measurement in tape.measurements
        )
        found.append(results[0] if len(results) == 1 else results)
    return tuple(found) if tape.shots.has_partitioned_shots else found[0]


def _processed(
    measurement: Any, samples: NDArray[np.int64], order: Wires, values: Any, counts: NDArray[np.bool_], mode: str | None
) -> Any:
    if not counts.any() and not (isinstance(measurement, SampleMP) and mode == PADDED):
        # As PennyLane has it for measurements of which no shot counts.
        return np.full(measurement.shape(shots=1), np.nan) if isinstance(measurement, ProbabilityMP) else np.nan
    if measurement.mv is not None and values:
        return gather_mcm(measurement, values, counts, postselect_mode=mode)
    if isinstance(measurement, SampleMP) and mode == PADDED and not counts.all():
        padded = np.array(measurement.process_samples(samples, order))
        padded[~counts] = _PADDING
        return padded
    return measurement.process_samples(samples if counts.all() else samples[counts], order)
