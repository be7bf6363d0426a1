# SPDX-License-Identifier: Apache-2.0
"""Templates of simulators that apply gates to an array: runs of gates of which some wait for their angles.

Gates with numbers are brought into the SDK's form once. At a point only the others are, and put between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from qonduit_server.ir.symbolic import is_open
from qonduit_server.providers.point_binding import PointAngles, expressions_of
from qonduit_server.providers.provider import CompiledCircuit
from qonduit_server.providers.simulation.branching import Branching, Engine
from qonduit_server.providers.simulation.group_states import State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction

    from qonduit_server.ir.expressions import Expressions
    from qonduit_server.providers.simulation.steps import Gate


class Gates(Engine, Protocol):
    """An engine that brings gates into its form one by one, too."""

    def gate(self, gate: Instruction, angles: Sequence[float], places: Sequence[int]) -> Any:
        """Return a native gate in the SDK's form, with other angles than its own."""


@dataclass(frozen=True)
class OpenRun:
    """A run of gates.

    Args:
        lowered: the gates in the SDK's form; None for those with open angles.
        open: these gates with their places in the run.
    """

    lowered: tuple[Any, ...]
    open: tuple[tuple[int, Gate], ...]

    @cached_property
    def expressions(self) -> Expressions:
        """The angles of the open gates."""
        return expressions_of([parameter for _, (gate, _) in self.open for parameter in gate.params])

    def closed(self, engine: Gates, angles: Sequence[float]) -> list[Any]:
        """Return the run with angles for the open gates."""
        run = list(self.lowered)
        start = 0
        for place, (gate, qubits) in self.open:
            end = start + len(gate.params)
            run[place] = engine.gate(gate, angles[start:end], qubits)
            start = end
        return run


class TemplateEngine:
    """Stands for an engine while a circuit with parameters is compiled: leaves gates with open angles as they are."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[OpenRun]:
        """Return runs of gates of which the ones with numbers are lowered."""
        closed = [[gate for gate in run if not _is_open(gate)] for run in runs]
        found = []
        for run, lowered in zip(runs, self.engine.lower(closed, qubits), strict=True):
            rest = iter(lowered)
            found.append(
                OpenRun(
                    tuple([None if _is_open(gate) else next(rest) for gate in run]),
                    tuple([(place, gate) for place, gate in enumerate(run) if _is_open(gate)]),
                )
            )
        return found

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Raise: a template is not run."""
        raise NotImplementedError


def bind(
    template: CompiledCircuit, engine: Gates, names: Sequence[str], values: NDArray[np.float64]
) -> Callable[[int], CompiledCircuit]:
    """Return a function from points to compiled circuits; for the other arguments see `SimulatorProvider.bind`.

    Args:
        template: compiled with a `TemplateEngine`.
        engine: of the exact state.
        names: of the columns.
        values: points x names.
    """
    close = _closing(template.native, names, values)
    evolution = template.evolution
    if evolution is None:
        return lambda point: replace(template, native=close(point))
    evolve = _closing_run(evolution.native, engine, names, values)
    phase = PointAngles(expressions_of([evolution.phase]), names, values)

    def bound(point: int) -> CompiledCircuit:
        own = replace(evolution, native=evolve(point), phase=phase.at(point)[0])
        return replace(template, native=close(point), evolution=own)

    return bound


def _closing(native: Any, names: Sequence[str], values: NDArray[np.float64]) -> Callable[[int], Any]:
    """Return a function from points to the circuit of a template."""
    if isinstance(native, Branching):
        engine = native.engine.engine
        branching = replace(native, engine=engine)
        runs = [_closing_run(run, engine, names, values) for run in native.runs]
        return lambda point: replace(branching, runs=[run(point) for run in runs])
    engine = native.method.engine.engine
    deferred = replace(native, method=replace(native.method, engine=engine))
    if not isinstance(native.gates, OpenRun):  # nothing is measured
        return lambda point: deferred
    gates = _closing_run(native.gates, engine, names, values)
    return lambda point: replace(deferred, gates=gates(point))


def _closing_run(
    run: OpenRun, engine: Gates, names: Sequence[str], values: NDArray[np.float64]
) -> Callable[[int], list[Any]]:
    """Return a function from points to a run of gates."""
    angles = PointAngles(run.expressions, names, values)
    return lambda point: run.closed(engine, angles.at(point))


def _is_open(gate: Gate) -> bool:
    return any(map(is_open, gate[0].params))
