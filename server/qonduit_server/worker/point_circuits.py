# SPDX-License-Identifier: Apache-2.0
"""The compiled circuits of a program at its points: one template that is bound, or one compilation for each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions
from qonduit_server.worker.preparation import Preparation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Points(Protocol):
    """Points of a circuit."""

    names: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def symbolic(self) -> Circuit | None:
        """The circuit with parameters; None if each point has a circuit of its own."""

    def __len__(self) -> int:
        """Return the number of points."""

    def circuit(self, point: int) -> Circuit:
        """Return the circuit of a point."""


class PointCircuits:
    """Compiles a program's circuit at each point.

    Args:
        preparation: compiles.
        index: of the program.
        points: its points.
        change: what becomes of a circuit before it is compiled: it adds the noise of the job, and may measure.
        options: of the compilation.
        part: names the circuit among those of the program; see `Preparation.kept`.

    Attributes:
        first: the circuit of the first point, compiled.
    """

    def __init__(
        self,
        preparation: Preparation,
        index: int,
        points: Points,
        change: Callable[[Circuit], Circuit],
        options: CompileOptions,
        part: tuple[object, ...],
    ) -> None:
        self._preparation = preparation
        self._index = index
        self._part = part
        self._points = points
        self._change = change
        self._options = options
        self._bound: Callable[[int], CompiledCircuit] | None = None
        preparation.reporter.phase("compiling", index)
        if points.symbolic is not None and points.symbolic.parameters:
            self._bound = self._bind(points.symbolic)
        self.first = self._compiled(0)

    def compiled(self, point: int) -> CompiledCircuit:
        """Return the compiled circuit of a point."""
        return self._compiled(point) if point else self.first

    def _compiled(self, point: int) -> CompiledCircuit:
        if self._bound is not None:
            return self._bound(point)
        return self._compile(self._points.circuit(point))

    def _bind(self, symbolic: Circuit) -> Callable[[int], CompiledCircuit] | None:
        provider, device = self._preparation.provider, self._preparation.task.device
        if not provider.binds(device):
            return None
        part = ("template", *self._part)
        try:
            template, _ = self._preparation.kept(self._index, part, lambda: self._compile(symbolic, *part))
        except NotSymbolic:
            return None
        return provider.bind(device, template, self._points.names, self._points.values)

    def _compile(self, circuit: Circuit, *part: object) -> CompiledCircuit:
        """Compile a circuit; how one that `part` names is placed on a processor is kept for other processes."""
        placement = self._preparation.placement(self._index, *part) if part else None
        options = replace(self._options, placement=placement)
        return self._preparation.provider.compile(self._change(circuit), self._preparation.task.device, options)
