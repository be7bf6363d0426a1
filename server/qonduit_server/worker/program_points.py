# SPDX-License-Identifier: Apache-2.0
"""A program at the points of its parameter sets: read once where that is possible, bound at each point."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.json_format import MessageToDict

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.parameters import Binder
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.worker.preparation import Preparation

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Sweep:
    """The points of one program; a program without parameter sets has one point.

    Args:
        preparation: reads programs.
        index: of the program.

    Attributes:
        names: of the parameters.
        values: points x parameters.
        symbolic: the circuit with parameters; None if each point is read by itself.
        parse_seconds: the time to read the program.
        hit: whether it was in the cache.
    """

    def __init__(self, preparation: Preparation, index: int) -> None:
        sets = preparation.spec(index).parameter_sets
        self._preparation = preparation
        self._index = index
        self.names: tuple[str, ...] = tuple(sets.names)
        points = len(sets.values) // len(sets.names) if sets.names else 1
        self.values: NDArray[np.float64] = np.array(sets.values, dtype=np.float64).reshape(points, len(self.names))
        self._inputs = MessageToDict(preparation.inputs(index))
        self.symbolic: Circuit | None = None
        self._binder: Binder | None = None
        self.hit = False
        began = time.perf_counter()
        preparation.circuit = None
        try:
            (self.symbolic, self._binder), self.hit = preparation.kept(index, ("read",), self._read)
        except NotSymbolic:
            pass
        else:
            if self._binder is not None:
                self._binder.check(self.values)
        preparation.circuit = self.structure
        self.parse_seconds = 0.0 if self.hit else time.perf_counter() - began

    def _read(self) -> tuple[Circuit, Binder | None]:
        self._preparation.reporter.phase("reading", self._index)
        circuit = self._preparation.read(self._index, self._inputs, frozenset(self.names))
        return circuit, Binder(circuit, self.names) if circuit.parameters else None

    @cached_property
    def structure(self) -> Circuit:
        """The circuit apart from angles of gates: with parameters where possible, else that of the first point."""
        return self.circuit(0) if self.symbolic is None else self.symbolic

    def kept_structure(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Return `structure` after a change; further jobs find that of a circuit with parameters by its name."""
        if self.symbolic is None:
            return change(self.structure)
        return self._preparation.kept(self._index, (name,), lambda: change(self.structure))[0]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.values)

    def point(self, point: int) -> dict[str, float]:
        """Return the values of the parameters at a point."""
        return dict(zip(self.names, self.values[point].tolist(), strict=True))

    def circuit(self, point: int) -> Circuit:
        """Return the circuit of a point, without the noise of the job. Raises ProgramError."""
        if self._binder is not None:
            (circuit,) = self._binder.bind(self.values[point : point + 1])
            return circuit
        if self.symbolic is not None:
            return self.symbolic
        try:
            return self._preparation.read(self._index, {**self._inputs, **self.point(point)}, frozenset(self.names))
        except ProgramError as error:
            if not point:
                raise
            raise ProgramError(error.reason, f"{error.message} (at point {point})", line=error.line) from error
