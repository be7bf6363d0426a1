# SPDX-License-Identifier: Apache-2.0
"""An OpenQASM 3 program while it is read: the state that the files of every construct share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from openqasm3 import ast
from qiskit.circuit import Barrier, Gate, Measure, Reset

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.flow import Flow
from qonduit_server.ir.classical.values import Table, Value, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, Scopes, Subroutine, Variable
from qonduit_server.ir.controls import Step
from qonduit_server.ir.formula import TRUE, Formula
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.languages.openqasm3 import standard_gates
from qonduit_server.languages.signatures import Inputs

Statement: TypeAlias = ast.Statement | ast.Pragma


class Undecided(ProgramError):
    """A whole number that must be known while reading depends on a measurement: `node` has the values of `table`."""

    def __init__(self, message: str, node: ast.Expression, table: Table) -> None:
        super().__init__("UNSUPPORTED_CONSTRUCT", message)
        self.node = node
        self.table = table


class EvaluationContext(Flow):
    """One program, as far as it was read.

    `execute` reads a statement and `call` runs a subroutine; they are handed in, for both come back here.
    """

    def __init__(
        self,
        execute: Callable[[EvaluationContext, Statement], None],
        call: Callable[[EvaluationContext, ast.FunctionCall, Subroutine], Value | None],
        inputs: Inputs,
    ) -> None:
        super().__init__()
        self._execute = execute
        self._call = call
        #: Values for what the program declares as its inputs.
        self.inputs = inputs
        self.inputs_used: set[str] = set()
        self._depth = 0
        self.scopes = Scopes()
        #: In the order in which they came up, each once.
        self.warnings: dict[str, None] = {}
        #: The gates that need no definition.
        self.library: dict[str, standard_gates.Library] = dict(standard_gates.BUILTIN)
        #: What is written like a gate and is none, unless the program defines a gate of that name.
        self.operations: dict[str, Callable[[EvaluationContext, ast.QuantumGate], None]] = {}
        #: What defined gates are made of, by definition and parameters.
        self.expansions: dict[tuple[int, str], list[Step]] = {}
        #: Takes the gates of the definition that is being read; None outside of one.
        self.gate_body: list[Step] | None = None
        #: Hub qubits by their names in the program, as in $0.
        self.physical: dict[str, int] = {}
        #: What was measured into no bit of the program's.
        self.unnamed: list[Formula] = []
        #: Does what a pragma asks for.
        self.pragma: Callable[[EvaluationContext, ast.Pragma], None] = lambda context, node: context.warn(
            "pragmas are ignored"
        )
        #: Whether index 0 of a register or of an integer is its highest bit, as in Amazon Braket's simulator.
        self.first_bit_is_highest = False
        #: Whether / of two whole numbers rounds down, as there.
        self.division_rounds_down = False
        #: Expressions that depend on a measurement, by identity, with the value that is taken for the present.
        self.decided: dict[int, int] = {}
        #: Registers the program declares as its outputs.
        self.outputs: list[Variable] = []

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        self.warnings[text] = None

    def block(self, nodes: Sequence[ast.Statement], names: dict[str, Entry] | None = None) -> None:
        """Execute statements in a scope of their own, in which `names` are known."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_large(f"blocks, gates or subroutines are nested more than {MAX_DEPTH} deep")
        try:
            with self.scopes.inner(names or {}):
                self.sequence(len(nodes), lambda k: self._statement(nodes[k]))
        finally:
            self._depth -= 1

    def _statement(self, node: ast.Statement) -> None:
        self.step()
        self._execute(self, node)

    def call(self, node: ast.FunctionCall, subroutine: Subroutine) -> Value | None:
        """Run a subroutine; returns what it returns."""
        return self._call(self, node, subroutine)

    def emit(
        self, operation: Gate | Reset | Measure | Barrier, qubits: tuple[int, ...], clbits: tuple[int, ...] = ()
    ) -> None:
        """Put an operation into the IR, or a gate into the definition that is being read."""
        if self.gate_body is None:
            super().emit(operation, qubits, clbits)
        elif self.conditions.guard != TRUE:
            raise unsupported("a gate's body that depends on a measurement")
        elif isinstance(operation, Gate):
            self.gate_body.append((operation, qubits))
        else:
            raise wrong("a gate's body holds gates only")
