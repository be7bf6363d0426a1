# SPDX-License-Identifier: Apache-2.0
"""The simulation methods of Aer: what each runs, what it needs, and which one a program gets.

Aer's own rule never picks a matrix product state, refuses wide circuits with an error about memory, and does not weigh
a density matrix against trajectories. So the rule is written here, and its choice stands in every result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qonduit.v1.simulation_pb2 import SimulationMethod, SimulationOptions
from qonduit_server.capabilities import chooses_method
from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.process.cores import usable_cores
from qonduit_server.process.memory import format_bytes
from qonduit_server.providers.provider import task_memory

STATEVECTOR: Final = "statevector"
STABILIZER: Final = "stabilizer"
DENSITY_MATRIX: Final = "density_matrix"
TRAJECTORIES: Final = "trajectories"
MATRIX_PRODUCT_STATE: Final = "matrix_product_state"
METHODS: Final = frozenset((STATEVECTOR, STABILIZER, DENSITY_MATRIX, TRAJECTORIES, MATRIX_PRODUCT_STATE))
#: Aer has these on a GPU, too.
GPU_METHODS: Final = frozenset((STATEVECTOR, DENSITY_MATRIX, TRAJECTORIES))

#: The gates of the statevector; the other methods have fewer.
BASIS: Final = (
    "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "id", "p", "r", "rx", "ry", "rz", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "cp", "cu", "cu1", "cu3", "csx", "crx", "cry", "crz", "swap", "ecr",
    "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "mcx", "mcphase", "unitary",
)  # fmt: skip
#: complex128, one copy; the rest of the process was measured to stay below this.
BYTES_PER_AMPLITUDE: Final = 16
#: Up to this many qubits every circuit is simulated as a statevector, which is fastest. Beyond, a call gets all cores.
SMALL_QUBITS: Final = 14
#: From this many on the cores share each shot where shots are run one after another; below, each core runs its own.
LARGE_QUBITS: Final = 20
#: No program has more qubits.
_MAX_QUBITS: Final = 4096
#: A tableau has 2n rows of 2n bits; the circuit and the generators that Qonduit keeps are larger. Measured: 16.
_STABILIZER_BYTES: Final = 32
#: A tensor of a matrix product state has 2 x D x D amplitudes. Measured with sampling: twice to three times that.
_TENSOR_BYTES: Final = 4 * 2 * BYTES_PER_AMPLITUDE
DEFAULT_BOND_DIMENSION: Final = 256
DEFAULT_MIN_FIDELITY: Final = 0.9
#: A density matrix of so few qubits costs less than anything else.
_TINY_QUBITS: Final = 6


@dataclass(frozen=True)
class Traits:
    """What the choice of a method depends on.

    Args:
        qubits: of the circuit.
        noisy: whether it has channels or readout errors.
        measured_last: whether it has no measurement that anything follows on the same qubit, and no conditions.
        obstacle: what keeps it from a stabilizer simulator; "" if nothing does; None where that was not looked at.
        shots: as `CompileOptions.shots`.
    """

    qubits: int
    noisy: bool
    measured_last: bool
    obstacle: str | None
    shots: int


def limit_bytes(memory_limit_bytes: int, device_bytes: int = 0) -> int:
    """Return what a run may need, in bytes.

    Args:
        memory_limit_bytes: what a job may need; 0 for no limit of its own.
        device_bytes: the memory of the device; 0 for that of the machine.
    """
    limit = min(memory_limit_bytes or task_memory(), task_memory())
    return min(limit, device_bytes or limit)


def bond_dimension(simulation: SimulationOptions) -> int:
    """Return the largest bond dimension that a job allows."""
    return simulation.max_bond_dimension if simulation.HasField("max_bond_dimension") else DEFAULT_BOND_DIMENSION


def min_fidelity(simulation: SimulationOptions) -> float:
    """Return the fidelity that an approximate state must have for certain."""
    return simulation.min_fidelity if simulation.HasField("min_fidelity") else DEFAULT_MIN_FIDELITY


def amplitude_bytes(simulation: SimulationOptions) -> int:
    """Return the bytes of one amplitude in the precision that a job asks for."""
    return BYTES_PER_AMPLITUDE // 2 if simulation.floating_point == "single" else BYTES_PER_AMPLITUDE


def memory_of(
    method: str, qubits: int, bond: int = DEFAULT_BOND_DIMENSION, amplitude: int = BYTES_PER_AMPLITUDE
) -> int:
    """Return what a run with a method needs at most, in bytes."""
    if method == STABILIZER:
        return _STABILIZER_BYTES * qubits * qubits
    if method == MATRIX_PRODUCT_STATE:
        return _TENSOR_BYTES * qubits * min(bond, 1 << qubits // 2) ** 2
    return amplitude << (2 * qubits if method == DENSITY_MATRIX else qubits)


def memory_of_shots(method: str, qubits: int, amplitude: int) -> int:
    """Return what the states of shots need that run at once beside the first, in bytes."""
    states = memory_of(method, qubits, amplitude=amplitude)
    # Each core has a state; applying an error takes one more.
    return 0 if states >= amplitude << LARGE_QUBITS else states * usable_cores()


def describe_methods(limit: int, offered: frozenset[str] = METHODS) -> list[SimulationMethod]:
    """Return methods with what fits, for a device's capabilities.

    Args:
        limit: the memory that a run may need, in bytes.
        offered: the names of the device's methods.
    """

    def method(name: str, qubits: int, circuits: str, exact: bool = True, noise: bool = False) -> SimulationMethod:
        return SimulationMethod(
            name=name,
            max_qubits=qubits,
            max_memory_bytes=memory_of(name, qubits),
            circuits=circuits,
            exact=exact,
            noise=noise,
            clifford_only=name == STABILIZER,
        )

    widest = widest_statevector(limit)
    # A tenth is left to Aer's log of what it discards.
    tensors = max(1, min(_MAX_QUBITS, int(0.9 * limit) // (memory_of(MATRIX_PRODUCT_STATE, 64) // 64)))
    separable = "circuits without noise, whose measurements can be moved to the end; little entanglement"
    methods = [
        method(STATEVECTOR, widest, "all circuits without noise"),
        method(
            STABILIZER, _MAX_QUBITS, "Clifford gates, and channels that are mixtures of Pauli operators", noise=True
        ),
        method(DENSITY_MATRIX, max(1, widest // 2), "all circuits; exact probabilities with noise", noise=True),
        method(TRAJECTORIES, widest, "all circuits, each shot with its own random errors", noise=True),
        method(MATRIX_PRODUCT_STATE, tensors, separable, exact=False),
    ]
    return [each for each in methods if each.name in offered]


def widest_statevector(limit: int, amplitude: int = BYTES_PER_AMPLITUDE) -> int:
    """Return the qubits of the widest statevector that fits."""
    return max(1, (limit // amplitude).bit_length() - 1)


def choose(traits: Traits, simulation: SimulationOptions, limit: int, offered: frozenset[str] = METHODS) -> str:
    """Return the method for a program.

    Args:
        traits: of the program.
        simulation: what the job asks for.
        limit: the memory that a run may need, in bytes.
        offered: the names of the device's methods.

    Raises:
        DeviceError: reason UNSUPPORTED_METHOD, the named method cannot run the program.
        LimitError: reason MEMORY_LIMIT, no method that the job allows fits.
    """
    if not chooses_method(simulation):
        _check_named(simulation.method, traits, simulation, limit)
        return simulation.method
    amplitude = amplitude_bytes(simulation)
    fits = memory_of(STATEVECTOR, traits.qubits, amplitude=amplitude) <= limit
    if traits.noisy:
        matrix_fits = memory_of(DENSITY_MATRIX, traits.qubits, amplitude=amplitude) <= limit
        cheaper = traits.qubits <= _TINY_QUBITS or 1 << traits.qubits < traits.shots
        if traits.measured_last and cheaper and matrix_fits:
            return DENSITY_MATRIX
    if traits.obstacle == "" and memory_of(STABILIZER, traits.qubits) <= limit:
        return STABILIZER
    if fits:
        return TRAJECTORIES if traits.noisy else STATEVECTOR
    if not traits.noisy and simulation.allow_approximate and MATRIX_PRODUCT_STATE in offered:
        check_fits(MATRIX_PRODUCT_STATE, traits.qubits, simulation, limit)
        return MATRIX_PRODUCT_STATE
    raise _too_wide(traits, simulation, limit, offered)


def check_fits(method: str, qubits: int, simulation: SimulationOptions, limit: int) -> int:
    """Return what a run needs, in bytes.

    Raises:
        LimitError: reason MEMORY_LIMIT; the message names need, limit and what would fit.
    """
    bond, amplitude = bond_dimension(simulation), amplitude_bytes(simulation)
    need = memory_of(method, qubits, bond, amplitude)
    if need <= limit:
        return need
    if method == MATRIX_PRODUCT_STATE:
        least = max(1, int((limit / (_TENSOR_BYTES * qubits)) ** 0.5))
        what, advice = f" as a {method} with bond dimension {bond}", f"set simulation.max_bond_dimension to {least}"
    elif method == DENSITY_MATRIX:
        widest = widest_statevector(limit, amplitude) // 2
        what = f" as a {method}"
        advice = f"use at most {widest} qubits, or the method {TRAJECTORIES} (max_task_memory_bytes)"
    else:
        widest = widest_statevector(limit, amplitude)
        what, advice = "", f"use at most {widest} qubits (max_task_memory_bytes)"
    raise LimitError(
        "MEMORY_LIMIT",
        f"simulating {qubits} qubits{what} needs {format_bytes(need)}, the limit is {format_bytes(limit)}: {advice}",
    )


def _check_named(method: str, traits: Traits, simulation: SimulationOptions, limit: int) -> None:
    if method == STABILIZER and traits.obstacle:
        raise unsupported(
            method, f"runs Clifford gates and Pauli noise only, and the program has the {traits.obstacle}"
        )
    if traits.noisy and method == STATEVECTOR:
        raise unsupported(method, f"runs no noise: name {DENSITY_MATRIX} or {TRAJECTORIES}, or no method")
    if traits.noisy and method == MATRIX_PRODUCT_STATE:
        raise unsupported(method, f"runs no noise: name {TRAJECTORIES}, or {STABILIZER} for Clifford circuits")
    check_fits(method, traits.qubits, simulation, limit)


def unsupported(method: str, why: str) -> DeviceError:
    """Return the error of a method that cannot run a program."""
    return DeviceError("UNSUPPORTED_METHOD", f"the simulation method {method} {why}")


def _too_wide(traits: Traits, simulation: SimulationOptions, limit: int, offered: frozenset[str]) -> LimitError:
    amplitude = amplitude_bytes(simulation)
    need = memory_of(STATEVECTOR, traits.qubits, amplitude=amplitude)
    widest = widest_statevector(limit, amplitude)
    message = (
        f"simulating {traits.qubits} qubits exactly needs {format_bytes(need)}, the limit is {format_bytes(limit)} "
        f"(max_task_memory_bytes): use at most {widest} qubits"
    )
    if traits.obstacle:
        message += f"; wider circuits run if they consist of Clifford gates, and this one has the {traits.obstacle}"
    if not traits.noisy and MATRIX_PRODUCT_STATE in offered:
        bond = bond_dimension(simulation)
        memory = format_bytes(memory_of(MATRIX_PRODUCT_STATE, traits.qubits, bond))
        message += (
            f". simulation.allow_approximate, or simulation.method = {MATRIX_PRODUCT_STATE}, runs it with a bond "
            f"dimension of at most {bond} in at most {memory}; the result contains the discarded weight"
        )
    return LimitError("MEMORY_LIMIT", message)
