# SPDX-License-Identifier: Apache-2.0
"""The compiled circuits of a program at its points: one template that is bound, or one compilation for each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions
from qonduit_server.worker.preparation import Preparation
from qonduit_server.worker.program_points import Sweep


class PointCircuits:
    """Compiles a program's circuit at each point.

    Args:
        preparation: compiles.
        index: of the program.
        sweep: its points.
        change: what becomes of a circuit before it is compiled: it adds the noise of the job, and may measure.
        options: of the compilation.

    Attributes:
        first: the circuit of the first point, compiled.
    """

    def __init__(
        self,
        preparation: Preparation,
        index: int,
        sweep: Sweep,
        change: Callable[[Circuit], Circuit],
        options: CompileOptions,
    ) -> None:
        self._preparation = preparation
        self._sweep = sweep
        self._change = change
        self._options = options
        self._template: CompiledCircuit | None = None
        preparation.reporter.phase("compiling", index)
        if sweep.symbolic is not None and sweep.symbolic.parameters and getattr(preparation.provider, "binds", False):
            try:
                self._template = self._compile(sweep.symbolic)
            except NotSymbolic:
                self._template = None
        self.first = self.compiled(0)

    def compiled(self, point: int) -> CompiledCircuit:
        """Return the compiled circuit of a point."""
        if not point and hasattr(self, "first"):
            return self.first
        if self._template is not None:
            provider, device = self._preparation.provider, self._preparation.task.device
            return provider.bind(device, self._template, self._sweep.point(point))
        return self._compile(self._sweep.circuit(point))

    def _compile(self, circuit: Circuit) -> CompiledCircuit:
        return self._preparation.provider.compile(self._change(circuit), self._preparation.task.device, self._options)


def with_state(options: CompileOptions) -> CompileOptions:
    """Return options for a circuit whose exact state is needed."""
    return replace(options, statevector=True)
