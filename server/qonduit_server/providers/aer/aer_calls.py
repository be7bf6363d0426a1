# SPDX-License-Identifier: Apache-2.0
"""Which programs share a call of Aer, and with how many threads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from qonduit_server.providers.aer.aer_methods import (
    DENSITY_MATRIX,
    LARGE_QUBITS,
    MATRIX_PRODUCT_STATE,
    SMALL_QUBITS,
    STABILIZER,
)
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.provider import CompiledCircuit

#: The states of a template that one call returns, in bytes.
_CALL_BYTES: Final = 16 * 1024**2

_Program = TypeVar("_Program", AerProgram, AerProgram | None)


def together(programs: Iterable[_Program], most: int = 0) -> Iterator[list[_Program]]:
    """Yield adjacent programs of one template together, others alone.

    Args:
        programs: the programs.
        most: how many of a template are yielded together; 0: as many as `_CALL_BYTES` allow, of large ones each alone.
    """
    own: list[_Program] = []
    room = 0
    for each in programs:
        if room and each is not None and own[0] is not None and each.slots and each.circuit is own[0].circuit:
            own.append(each)
            room -= 1
            continue
        if own:
            yield own
        own = [each]
        room = (most or _states_of_a_call(each)) - 1 if each is not None and each.slots else 0
    if own:
        yield own


def _states_of_a_call(program: AerProgram) -> int:
    """Return how many states of a template are returned by one call."""
    qubits = 0 if program.circuit is None else int(program.circuit.num_qubits)
    if qubits >= SMALL_QUBITS or is_large(program):
        return 1
    return max(1, _CALL_BYTES >> 4 + qubits)


def calls_of(programs: Sequence[AerProgram]) -> Collection[tuple[int, list[int]]]:
    """Return the places of programs that one call of the SDK runs, each with the number of sampled programs before.

    Aer gives the sampled circuits of one call seeds in a row. Only neighbours share a call, so that the seed of a
    program depends on its place, and not on how programs are divided into calls.
    """
    found: dict[tuple[object, ...], tuple[int, list[int]]] = {}
    sampled = before = 0
    last: tuple[object, ...] = ()
    for place, program in enumerate(programs):
        if program.kind is Kind.NOTHING:
            continue
        key = _group(program)
        if not has_one_shot(program):
            if key != last:
                last, before = key, sampled
            key = (*key, before)
            sampled += 1
        found.setdefault(key, (before, []))[1].append(place)
    return found.values()


def _group(program: AerProgram) -> tuple[object, ...]:
    """Return what programs of one call have in common."""
    options = {**program.options, "noise_model": id(program.noise)}
    return has_one_shot(program), *options.values()


def program_of(compiled: CompiledCircuit) -> AerProgram:
    """Return a compiled circuit as a program of Aer."""
    assert isinstance(compiled.native, AerProgram)
    return compiled.native


def runs_alone(compiled: CompiledCircuit) -> bool:
    """Return whether a program is run by calls of its own.

    Aer gives shot i of a circuit its seed + i. Programs that run shot by shot have seeds that are mixed first, so that
    jobs with neighbouring seeds have no shots in common.
    """
    program = program_of(compiled)
    return program.kind is Kind.SHOTS or (
        program.kind is not Kind.NOTHING
        and (compiled.qubits >= SMALL_QUBITS or program.method == MATRIX_PRODUCT_STATE or is_large(program))
    )


def has_one_shot(program: AerProgram) -> bool:
    """Return whether one evolution of a program gives the outcomes of all its shots."""
    return program.kind in (Kind.PROBABILITIES, Kind.AFFINE)


def is_large(program: AerProgram) -> bool:
    """Return whether a program is given all cores: below, waiting for threads costs more than they bring."""
    # Threads cost more on a density matrix: with 8 qubits 9 times as much was measured.
    return _size(program) >= (LARGE_QUBITS if program.method == DENSITY_MATRIX else SMALL_QUBITS)


def needs_threads(program: AerProgram) -> bool:
    """Return whether the cores share each shot; else each runs shots of its own."""
    return _size(program) >= LARGE_QUBITS


def _size(program: AerProgram) -> int:
    """Return the binary logarithm of the number of amplitudes."""
    if program.circuit is None or program.method in (STABILIZER, MATRIX_PRODUCT_STATE):
        return 0
    return int(program.circuit.num_qubits) * (2 if program.method == DENSITY_MATRIX else 1)
