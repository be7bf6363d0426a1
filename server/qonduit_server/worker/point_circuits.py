# SPDX-License-Identifier: Apache-2.0
"""The compiled circuits of a program at its points: one template that is bound, or one compilation for each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
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
        template: the compiled circuit that is bound at each point; None if each point is compiled by itself.
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
        self.template = self._kept_template()
        if self.template is None:
            self.first  # noqa: B018 - compiled here, where a failure is one of the preparation

    @cached_property
    def first(self) -> CompiledCircuit:
        """The circuit of the first point, compiled."""
        if self.template is None:
            self._preparation.reporter.phase("compiling", self._index)
        return self._compiled(0)

    def compiled(self, point: int) -> CompiledCircuit:
        """Return the compiled circuit of a point."""
        return self._compiled(point) if point else self.first

    def _compiled(self, point: int) -> CompiledCircuit:
        if self.template is not None:
            return self._bound(point)
        return self._compile(self._points.circuit(point))

    @cached_property
    def _bound(self) -> Callable[[int], CompiledCircuit]:
        """The template at each point."""
        assert self.template is not None
        device, points = self._preparation.task.device, self._points
        return self._preparation.provider.bind(device, self.template, points.names, points.values)

    def _kept_template(self) -> CompiledCircuit | None:
        """Return the template, which further jobs share; None where the device or the circuit has none."""
        symbolic = self._points.symbolic
        if symbolic is None or not symbolic.parameters:
            return None
        if not self._preparation.provider.binds(self._preparation.task.device):
            return None
        part = ("template", *self._part)

        def compile_template() -> CompiledCircuit:
            self._preparation.reporter.phase("compiling", self._index)
            return self._compile(symbolic, *part)

        try:
            return self._preparation.kept(self._index, part, compile_template)[0]
        except NotSymbolic:
            return None

    def _compile(self, circuit: Circuit, *part: object) -> CompiledCircuit:
        """Compile a circuit; how one that `part` names is placed on a processor is kept for other processes."""
        placement = self._preparation.placement(self._index, *part) if part else None
        options = replace(self._options, placement=placement)
        return self._preparation.provider.compile(self._change(circuit), self._preparation.task.device, options)
