# SPDX-License-Identifier: Apache-2.0
"""The evaluation context: the reader's state, which the files of all constructs share."""

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
from qonduit_server.ir.noise import Channel
from qonduit_server.languages.openqasm3 import standard_gates
from qonduit_server.languages.signatures import NO_NAMES, Inputs

Statement: TypeAlias = ast.Statement | ast.Pragma


class Undecided(ProgramError):
    """An integer that must be known while reading depends on a measurement: `node` has the values of `table`."""

    def __init__(self, message: str, node: ast.Expression, table: Table) -> None:
        super().__init__("UNSUPPORTED_CONSTRUCT", message)
        self.node = node
        self.table = table


class EvaluationContext(Flow):
    """The state of reading one program.

    `execute` reads a statement and `call` runs a subroutine; they are passed in because both use this class.
    """

    def __init__(
        self,
        execute: Callable[[EvaluationContext, Statement], None],
        call: Callable[[EvaluationContext, ast.FunctionCall, Subroutine], Value | None],
        inputs: Inputs,
        gate_names: frozenset[str] = NO_NAMES,
    ) -> None:
        super().__init__()
        #: Gates that are kept whole.
        self.gate_names = gate_names
        self._execute = execute
        self._call = call
        #: Values of the program's inputs.
        self.inputs = inputs
        self.inputs_used: set[str] = set()
        self._depth = 0
        self.scopes = Scopes()
        #: Warnings in order of appearance, without duplicates.
        self.warnings: dict[str, None] = {}
        #: The gates of the library, which need no definition.
        self.library: dict[str, standard_gates.Library] = dict(standard_gates.BUILTIN)
        #: Instructions with gate syntax, unless the program defines a gate of that name.
        self.operations: dict[str, Callable[[EvaluationContext, ast.QuantumGate], None]] = {}
        #: Cached steps of defined gates, by definition and parameters.
        self.expansions: dict[tuple[int, str], list[Step]] = {}
        #: Collects the gates of the current definition; None outside of one.
        self.gate_body: list[Step] | None = None
        #: IR qubits by their physical names in the program, as in $0.
        self.physical: dict[str, int] = {}
        #: Measurements into no bit of the program.
        self.unnamed: list[Formula] = []
        #: Executes a pragma.
        self.pragma: Callable[[EvaluationContext, ast.Pragma], None] = lambda context, node: context.warn(
            "pragmas are ignored"
        )
        #: Whether index 0 of a register or integer is its highest bit, as in Amazon Braket's simulator.
        self.first_bit_is_highest = False
        #: Whether / of two integers rounds down, as in Amazon Braket's simulator.
        self.division_rounds_down = False
        #: Expressions that depend on a measurement, by identity, with the value currently assumed.
        self.decided: dict[int, int] = {}
        #: Registers declared as outputs.
        self.outputs: list[Variable] = []

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        self.warnings[text] = None

    def block(self, nodes: Sequence[ast.Statement], names: dict[str, Entry] | None = None) -> None:
        """Execute statements in a new scope that contains `names`."""
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
        """Run a subroutine and return its value."""
        return self._call(self, node, subroutine)

    def emit(
        self,
        operation: Gate | Reset | Measure | Barrier | Channel,
        qubits: tuple[int, ...],
        clbits: tuple[int, ...] = (),
    ) -> None:
        """Append an operation to the IR, or a gate to the current definition."""
        if self.gate_body is None:
            super().emit(operation, qubits, clbits)
        elif self.conditions.guard != TRUE:
            raise unsupported("a gate's body that depends on a measurement")
        elif isinstance(operation, Gate):
            self.gate_body.append((operation, qubits))
        else:
            raise wrong("a gate's body may contain only gates")
