# SPDX-License-Identifier: Apache-2.0
"""Binding of templates: the angles of a compiled circuit at the points of a sweep, and providers without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from qonduit_server.ir.symbolic import NotSymbolic, is_open

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.ir.circuit import Circuit
    from qonduit_server.ir.expressions import Expressions
    from qonduit_server.providers.provider import CompiledCircuit

#: The points whose angles are computed at once: 100,000 points of 1,000 angles would take 0.8 GB.
BLOCK: Final = 64


class PointAngles:
    """The values of expressions at points, computed for a block of points when one of them is asked for.

    Args:
        expressions: the expressions.
        names: of the columns of `values`; the parameters of the expressions are among them.
        values: points x names.
    """

    def __init__(self, expressions: Expressions, names: Sequence[str], values: NDArray[np.float64]) -> None:
        self._expressions = expressions
        columns = {name: column for column, name in enumerate(names)}
        self._columns = [columns[name] for name in expressions.names]
        self._values = values
        self._start = -1
        self._block: list[list[float]] = []

    def at(self, point: int) -> list[float]:
        """Return the values at a point. Raises ProgramError where one is not finite."""
        start = point - point % BLOCK
        if start != self._start:
            rows = self._values[start : start + BLOCK, self._columns]
            self._block, self._start = self._expressions.values(rows, start).tolist(), start
        return self._block[point - start]


def expressions_of(parameters: Sequence[Any]) -> Expressions:
    """Return angles, numbers among them, as expressions over the parameters that they have."""
    from qonduit_server.ir.expressions import Expressions

    names = {each.name for parameter in parameters if is_open(parameter) for each in parameter.parameters}
    return Expressions(parameters, sorted(names))


@contextmanager
def compiling(circuit: Circuit) -> Iterator[None]:
    """Raise NotSymbolic where the compilation of a circuit with parameters needs their values."""
    from qiskit.exceptions import QiskitError

    try:
        yield
    except (TypeError, QiskitError) as error:
        # What Qiskit and NumPy raise where they are given an expression for a number.
        if circuit.parameters:
            raise NotSymbolic("the compilation needs the value of a free input") from error
        raise


class OneByOne:
    """What providers have in common that compile each point, and compute exact values one after another."""

    if TYPE_CHECKING:

        def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
            """See `SimulatorProvider`."""

        def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
            """See `SimulatorProvider`."""

    def binds(self, device: str) -> bool:
        """Return False; see `SimulatorProvider`."""
        return False

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Raise NotSymbolic; see `SimulatorProvider`."""
        raise NotSymbolic(f"{device} compiles each point")

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield the exact distribution of each circuit; see `SimulatorProvider`."""
        for each in compiled:
            yield self.probabilities(device, each)

    def statevectors(self, device: str, compiled: Sequence[CompiledCircuit]) -> Iterator[NDArray[np.complex128]]:
        """Yield the exact state of each circuit; see `SimulatorProvider`."""
        for each in compiled:
            yield self.statevector(device, each)
