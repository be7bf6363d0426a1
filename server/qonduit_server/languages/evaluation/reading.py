# SPDX-License-Identifier: Apache-2.0
"""An OpenQASM 3 program while it is read: the state that the files of every construct share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from openqasm3 import ast
from qiskit.circuit import Barrier, Gate, Measure, Reset

from qonduit_server.hub.building import Builder
from qonduit_server.hub.formula import TRUE, Formula
from qonduit_server.hub.limits import MAX_DEPTH, too_large
from qonduit_server.languages import modifiers
from qonduit_server.languages.edges import Inputs
from qonduit_server.languages.evaluation import gates
from qonduit_server.languages.evaluation.conditions import Conditions
from qonduit_server.languages.evaluation.names import Entry, Scopes, Subroutine, Variable
from qonduit_server.languages.evaluation.values import Value, unsupported, wrong

#: Statements that may be executed while reading.
MAX_STEPS: Final = 50_000
#: Seconds of a processor that reading may take, its parser apart.
MAX_SECONDS: Final = 20.0

Statement: TypeAlias = ast.Statement | ast.Pragma


class Reading:
    """One program, as far as it was read.

    `execute` reads a statement and `call` runs a subroutine; they are handed in, for both come back here.
    """

    def __init__(
        self,
        execute: Callable[[Reading, Statement], None],
        call: Callable[[Reading, ast.FunctionCall, Subroutine], Value | None],
        inputs: Inputs,
    ) -> None:
        self._execute = execute
        self._call = call
        #: Values for what the program declares as its inputs.
        self.inputs = inputs
        self.inputs_used: set[str] = set()
        self._depth = 0
        self._deadline = time.thread_time() + MAX_SECONDS
        #: Statements and rounds of loops so far.
        self.steps = 0
        self.scopes = Scopes()
        self.conditions = Conditions()
        self.builder = Builder()
        #: In the order in which they came up, each once.
        self.warnings: dict[str, None] = {}
        #: The gates that need no definition.
        self.library: dict[str, gates.Library] = dict(gates.BUILTIN)
        #: What defined gates are made of, by definition and parameters.
        self.expansions: dict[tuple[int, tuple[float, ...]], list[modifiers.Step]] = {}
        #: Takes the gates of the definition that is being read; None outside of one.
        self.gate_body: list[modifiers.Step] | None = None
        #: Hub qubits by their names in the program, as in $0.
        self.physical: dict[str, int] = {}
        #: Registers the program declares as its outputs.
        self.outputs: list[Variable] = []
        #: The guards under which the loops around, and the subroutines around, were entered; None where a loop of the
        #: hub lies between, which nothing may leave.
        self.loop_guards: list[Formula | None] = []
        self.call_guards: list[Formula | None] = []
        #: How many of the loops around stay loops in the hub.
        self.hub_loops = 0

    def check_time(self) -> None:
        """Refuse a program whose reading takes too long, whatever it is that takes so long."""
        if time.thread_time() > self._deadline:
            raise too_large(f"reading the program takes more than {MAX_SECONDS:.0f} seconds")

    def warn(self, text: str) -> None:
        self.warnings[text] = None

    def block(self, nodes: Sequence[ast.Statement], names: dict[str, Entry] | None = None) -> None:
        """Execute statements in a scope of their own, in which `names` are known."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_large(f"blocks, gates or subroutines are nested more than {MAX_DEPTH} deep")
        try:
            with self.scopes.inner(names or {}):
                for node in nodes:
                    self.steps += 1
                    if self.steps > MAX_STEPS:
                        raise too_large(f"reading the program takes more than {MAX_STEPS} steps")
                    self.check_time()
                    self._execute(self, node)
        finally:
            self._depth -= 1

    def call(self, node: ast.FunctionCall, subroutine: Subroutine) -> Value | None:
        """Run a subroutine; returns what it returns."""
        return self._call(self, node, subroutine)

    def emit(
        self, operation: Gate | Reset | Measure | Barrier, qubits: tuple[int, ...], clbits: tuple[int, ...] = ()
    ) -> None:
        """Put an operation into the hub, or a gate into the definition that is being read."""
        if self.gate_body is None:
            self.builder.append(self.conditions.guard, operation, qubits, clbits)
        elif self.conditions.guard != TRUE:
            raise unsupported("a gate's body that depends on a measurement")
        elif isinstance(operation, Gate):
            self.gate_body.append((operation, qubits))
        else:
            raise wrong("a gate's body holds gates only")
