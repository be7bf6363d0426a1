# SPDX-License-Identifier: Apache-2.0
"""Evaluates Qiskit's circuits into the IR: control flow and variables by partial evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    BoxOp,
    BreakLoopOp,
    ClassicalRegister,
    Clbit,
    ContinueLoopOp,
    ControlFlowOp,
    Delay,
    ForLoopOp,
    Gate,
    IfElseOp,
    Measure,
    Operation,
    QuantumCircuit,
    Qubit,
    Reset,
    Store,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.classical import expr
from qiskit.circuit.controlflow import CASE_DEFAULT

from qonduit_server.ir import circuit as hub
from qonduit_server.ir.classical import runtime_loops
from qonduit_server.ir.classical.flow import Flow
from qonduit_server.ir.classical.values import Bits, Type, Value, equal, truth, unsupported, wrong
from qonduit_server.ir.classical.variables import Variable, View
from qonduit_server.ir.formula import FALSE, Formula
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.languages import program_inputs as given_inputs
from qonduit_server.languages.named_gates import named
from qonduit_server.languages.openqasm3 import input_declarations as typed_inputs
from qonduit_server.languages.openqasm3.measurement import measure_into
from qonduit_server.languages.qiskit import classical_expressions, qiskit_gates
from qonduit_server.languages.qiskit.parameter_binding import assigned, bound
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs

_BIT: Final = Type("bit")
_ZERO: Final = Bits((FALSE,), scalar=True)


def read(circuit: QuantumCircuit, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> hub.Circuit:
    """Read a circuit.

    Args:
        inputs: values of its parameters and input variables, by name.
        gate_names: gates that are kept whole where the circuit defines them.

    Raises:
        ProgramError: an unsupported construct, or a missing value.
    """
    walk = _Walk(circuit, inputs, gate_names)
    walk.block(walk.outermost)
    if circuit.layout is not None:
        walk.warn("the layout is ignored: qubits are those of the circuit")
    if circuit.metadata:
        walk.warn("the circuit's metadata are ignored")
    registers = [hub.ClassicalRegister(each.name, walk.shown(each)) for each in circuit.cregs]
    loose = [clbit for clbit in circuit.clbits if not circuit.find_bit(clbit).registers]
    if loose:
        walk.warn("classical bits that belong to no register are shown as one register without a name")
        registers.append(hub.ClassicalRegister("", walk.shown(loose)))
    warnings = (*walk.warnings, *given_inputs.unused(inputs, walk.known_inputs))
    return hub.Circuit(walk.builder.finish(), tuple(registers), warnings)


class _Frame:
    """The IR qubits and bits of a circuit or of a body in it."""

    def __init__(self, circuit: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[Variable]) -> None:
        if len(qubits) != circuit.num_qubits or len(clbits) != circuit.num_clbits:
            raise wrong("the body of an operation differs from the operation in its number of bits")
        try:
            self._fill(circuit, qubits, clbits)
        except qiskit_gates.FAULTS as error:
            # Qiskit creates operations on access.
            raise wrong(f"an operation of the circuit is invalid: {str(error)[:200]}") from error

    def _fill(self, circuit: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[Variable]) -> None:
        own: dict[Qubit, int] = dict(zip(circuit.qubits, qubits, strict=True))
        self.clbits: dict[Clbit, Variable] = dict(zip(circuit.clbits, clbits, strict=True))
        self.variables = list(circuit.iter_declared_vars())
        #: Each operation with its IR qubits and its bits.
        self.data = [
            (each.operation, [own[qubit] for qubit in each.qubits], [self.clbits[clbit] for clbit in each.clbits])
            for each in circuit.data
        ]
        for operation, places, bits in self.data:
            if operation.num_qubits != len(places) or operation.num_clbits != len(bits):
                raise wrong(f"an operation {operation.name!r} acts on a wrong number of qubits or bits")


class _Walk(Flow):
    """The state of reading one circuit."""

    def __init__(self, circuit: QuantumCircuit, inputs: Inputs, gate_names: frozenset[str]) -> None:
        super().__init__()
        self._gate_names = gate_names
        self.warnings: dict[str, None] = {}
        self._depth = 0
        circuit, self.known_inputs = bound(circuit, inputs)
        self._free = frozenset(circuit.parameters)  # the unbound ones
        qubits = self.builder.add_qubits(circuit.num_qubits)
        clbits = self.builder.add_clbits(circuit.num_clbits)
        bits = [Variable("", _BIT, _ZERO, homes={0: clbit}) for clbit in clbits]
        self._variables: dict[expr.Var, Variable] = {}
        for var in circuit.iter_input_vars():
            if var.name not in inputs:
                raise given_inputs.missing(var.name)
            self.known_inputs.add(var.name)
            value = typed_inputs.value(var.name, classical_expressions.declared(var.type), inputs[var.name])
            self._variables[var] = self._variable(var, value)
        self.outermost = _Frame(circuit, qubits, bits)

    def warn(self, text: str) -> None:
        self.warnings[text] = None

    def shown(self, clbits: Sequence[Clbit]) -> tuple[int | Formula, ...]:
        """Return the bits of a register in a result."""
        return tuple(_shown(self.outermost.clbits[clbit]) for clbit in clbits)

    def block(self, frame: _Frame) -> None:
        """Execute the operations of a circuit or a body."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_large(f"bodies and definitions are nested more than {MAX_DEPTH} deep")
        try:
            for var in frame.variables:
                self._variables[var] = self._variable(var, 0)
            data = frame.data
            self.sequence(len(data), lambda k: self._execute(frame, *data[k]))
        finally:
            self._depth -= 1

    def _variable(self, var: expr.Var, value: Value) -> Variable:
        kind = classical_expressions.declared(var.type)
        return Variable(var.name, kind if kind.kind == "float" else _BIT, classical_expressions.typed(var.type, value))

    def _execute(self, frame: _Frame, operation: Operation, places: Sequence[int], clbits: Sequence[Variable]) -> None:
        if qiskit_gates.is_standard(operation):
            self._gate(qiskit_gates.checked(operation, self._free), places)
            return
        self.check_time()
        match operation:
            case Measure():
                measure_into(self, places, View(clbits[0], (0,)))
            case Barrier():
                if places:
                    self.builder.spend(len(places) // 16)  # wide operations need memory
                    self.emit(Barrier(len(places)), tuple(places))
            case Reset():
                self.emit(Reset(), tuple(places))
            case Delay():
                self.warn("delays are not simulated")
            case Store():
                self._store(
                    frame, operation.lvalue, classical_expressions.evaluate(operation.rvalue, self._reader(frame))
                )
            case BreakLoopOp() | ContinueLoopOp():
                self.leave(isinstance(operation, BreakLoopOp))
            case ControlFlowOp():
                self.step()
                self._control(frame, operation, places, clbits)
            case _:
                self._other(operation, places, clbits)

    def _gate(self, gate: Gate, places: Sequence[int]) -> None:
        if gate.num_qubits != len(places):
            raise wrong(f"{gate.name!r} acts on {gate.num_qubits} qubits, not on {len(places)}")
        if places:  # a global phase is not observable
            self.emit(gate, tuple(places))

    def _other(self, operation: Operation, places: Sequence[int], clbits: Sequence[Variable]) -> None:
        """Execute a larger gate, or an instruction by its definition."""
        if isinstance(operation, AnnotatedOperation):
            for gate, own in qiskit_gates.annotated(operation, self.builder.spend, self._free):
                self._gate(gate, [places[place] for place in own])
            return
        if qiskit_gates.is_kept(operation):
            self._gate(qiskit_gates.checked(operation, self._free), places)
            return
        if qiskit_gates.is_channel(operation):
            channel = qiskit_gates.channel(operation)
            self.builder.spend(len(channel.kraus))
            self.emit(channel, tuple(places))
            return
        self.builder.spend(1)
        if operation.name in self._gate_names and isinstance(operation, Gate):
            steps = qiskit_gates.steps(operation, self.builder.spend, self._gate_names, self._free)
            for gate, own in named(operation.name, steps, operation.num_qubits):
                self._gate(gate, [places[place] for place in own])
            return
        self.block(_Frame(qiskit_gates.definition(operation, self._free), places, clbits))

    def _control(
        self, frame: _Frame, operation: ControlFlowOp, places: Sequence[int], clbits: Sequence[Variable]
    ) -> None:
        read = self._reader(frame)

        def do(body: QuantumCircuit | None) -> Callable[[], None]:
            if body is None:
                return lambda: None
            inner = cache(lambda: _Frame(body, places, clbits))
            return lambda: self.block(inner())

        match operation:
            case IfElseOp():
                blocks = operation.blocks
                holds = classical_expressions.condition(operation.condition, read)
                self.branch(holds, do(blocks[0]), do(blocks[1] if len(blocks) > 1 else None))
            case WhileLoopOp():
                condition = operation.condition
                runtime_loops.repeat(
                    self, lambda: classical_expressions.condition(condition, read), do(operation.blocks[0])
                )
            case ForLoopOp():
                self._for(operation, places, clbits)
            case SwitchCaseOp():
                target = operation.target
                value = classical_expressions.evaluate(target, read) if isinstance(target, expr.Expr) else read(target)
                self._switch(value, list(operation.cases_specifier()), do)
            case BoxOp():
                do(operation.blocks[0])()
            case _:
                raise unsupported(f"the operation {operation.name!r} is not supported")

    def _for(self, operation: ForLoopOp, places: Sequence[int], clbits: Sequence[Variable]) -> None:
        indices, parameter, body = operation.params
        values = indices if isinstance(indices, range) else list(indices)
        used = parameter is not None and not isinstance(parameter, expr.Var) and parameter in set(body.parameters)

        unbound = None if used else _Frame(body, places, clbits)

        def once(k: int) -> None:
            if isinstance(parameter, expr.Var):
                self._variables[parameter] = self._variable(parameter, int(values[k]))
            self.block(unbound or _Frame(assigned(body, {parameter: values[k]}), places, clbits))

        self.over(values, once)

    def _switch(self, value: Value, cases: Sequence[Any], do: Callable[[QuantumCircuit], Callable[[], None]]) -> None:
        """Execute the first case that has the value, or the default."""
        if cases:
            labels, body = cases[0]
            met: Value = any(each is CASE_DEFAULT for each in labels)
            for each in labels if not met else ():
                met = classical_expressions.either(met, equal(value, int(each)))
            self.branch(truth(met), do(body), lambda: self._switch(value, cases[1:], do))

    def _reader(self, frame: _Frame) -> classical_expressions.Read:
        """Return the current values of bits, registers and variables of a body."""

        def read(target: Clbit | ClassicalRegister | expr.Var) -> Value:
            try:
                if isinstance(target, Clbit):
                    return frame.clbits[target].value  # type: ignore[return-value]
                if isinstance(target, expr.Var):
                    return self._variables[target].value  # type: ignore[return-value]
                return Bits(tuple(_formula(frame.clbits[clbit]) for clbit in target))
            except KeyError:
                raise wrong("an expression refers to a bit or a variable that does not exist") from None

        return read

    def _store(self, frame: _Frame, target: Any, value: Value) -> None:
        if isinstance(target, expr.Index):
            whole = classical_expressions.evaluate(target.target, self._reader(frame))
            place = classical_expressions.evaluate(target.index, self._reader(frame))
            assert isinstance(whole, Bits)
            self._store(frame, target.target, classical_expressions.replaced(whole, place, truth(value)))
        elif not isinstance(target, expr.Var):
            raise unsupported("the target of a store is neither a variable nor a bit of one")
        elif target.standalone:
            if target not in self._variables:
                raise wrong(f"the variable {target.name!r} is not declared")
            self.conditions.write(self._variables[target], classical_expressions.typed(target.type, value))
        else:
            clbits = [target.var] if isinstance(target.var, Clbit) else list(target.var)
            bits = classical_expressions.typed(target.type, value)
            assert isinstance(bits, Bits)
            if any(clbit not in frame.clbits for clbit in clbits):
                raise wrong("a value is stored in a bit that does not exist")
            for clbit, formula in zip(clbits, bits.formulas, strict=True):
                self.conditions.write(frame.clbits[clbit], Bits((formula,), scalar=True))


def _formula(variable: Variable) -> Formula:
    assert isinstance(variable.value, Bits)
    return variable.value.formulas[0]


def _shown(variable: Variable) -> int | Formula:
    formula = _formula(variable)
    if formula.kind == "bit":
        return formula.number
    return variable.homes[0] if formula == FALSE and variable.homes else formula
