# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 3 by partial evaluation: everything that is known is done while reading, under budgets.

Loops, subroutines, gate definitions, modifiers and arithmetic leave no trace in the hub. What depends on a measurement
becomes operations guarded by formulas over measured bits; each measurement writes a bit of its own, so that a formula
means the same wherever it is used. Only a loop whose end depends on a measurement stays a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from openqasm3 import ast
from qiskit.circuit import Barrier, Gate, Measure, Reset

from qonduit_server.circuit import (
    FALSE,
    TRUE,
    Circuit,
    ClassicalRegister,
    Formula,
    bit,
    choice,
    conjunction,
    negation,
)
from qonduit_server.errors import ProgramError
from qonduit_server.languages import gates
from qonduit_server.languages.building import Block, Builder, Loop, Write
from qonduit_server.languages.expressions import (
    Entry,
    Expressions,
    GateDefinition,
    Qubits,
    Subroutine,
    Variable,
    View,
    binary,
)
from qonduit_server.languages.source import MAX_DEPTH
from qonduit_server.languages.values import (
    Bits,
    Table,
    Type,
    Value,
    as_bits,
    coerce,
    equal,
    merge,
    number,
    too_large,
    truth,
    unsupported,
    wrong,
)

#: Statements that may be executed while reading.
MAX_STEPS: Final = 50_000


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _End(Exception):
    pass


class _Return(Exception):
    def __init__(self, value: Value | None) -> None:
        self.value = value


class Evaluation(Expressions):
    """One program, read from its tree. `library` holds the gates that need no definition."""

    def __init__(self) -> None:
        super().__init__()
        self.library: dict[str, gates.Library] = dict(gates.BUILTIN)
        self._builder = Builder()
        self._warnings: dict[str, None] = {}
        self._guard = TRUE
        self._journals: list[dict[int, tuple[Variable, Value | tuple[object, ...]]]] = []
        self._born: set[int] = set()
        self._loop_guards: list[Formula] = []
        self._call_guards: list[Formula] = []
        self._outputs: list[Variable] = []
        self._physical: dict[str, int] = {}
        self._definitions: dict[object, tuple[list[gates.Step], int]] = {}
        self._sink: list[gates.Step] | None = None
        self._steps = 0
        self._depth = 0
        self._hub_loops = 0

    # ---- the program

    def read(self, statements: Sequence[ast.Statement | ast.Pragma]) -> Circuit:
        try:
            for statement in statements:
                self._execute(statement)
        except _End:
            pass
        except (_Break, _Continue, _Return):
            raise wrong("break, continue and return need a loop or subroutine around them") from None
        shown = self._outputs or [
            entry
            for entry in self.scopes[0].values()
            if isinstance(entry, Variable) and entry.type.kind == "bit" and not entry.constant
        ]
        registers = []
        for variable in shown:
            value = variable.value
            assert isinstance(value, Bits)
            registers.append(ClassicalRegister(variable.name, tuple(self._shown(variable, value))))
        return Circuit(self._builder.finish(), tuple(registers), tuple(self._warnings))

    def _shown(self, variable: Variable, value: Bits) -> Iterator[int | Formula]:
        for place, formula in enumerate(value.formulas):
            if formula.kind == "bit":
                yield formula.number
            elif formula == FALSE and place in variable.homes:
                yield variable.homes[place]
            else:
                yield formula

    # ---- statements

    def _execute(self, node: ast.Statement | ast.Pragma) -> None:
        try:
            self._statement(node)
        except ProgramError as error:
            if not error.line and node.span is not None:
                line, column = node.span.start_line, node.span.start_column + 1
                raise ProgramError(
                    error.reason, f"line {line}, column {column}: {error.message}", line=line, column=column
                ) from None
            raise

    def _block(self, nodes: Sequence[ast.Statement], names: dict[str, Entry] | None = None) -> None:
        """Execute statements in a scope of their own."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_large(f"blocks, gates or subroutines are nested more than {MAX_DEPTH} deep")
        self.scopes.append(names or {})
        try:
            for node in nodes:
                self._steps += 1
                if self._steps > MAX_STEPS:
                    raise too_large(f"reading the program takes more than {MAX_STEPS} steps")
                self._execute(node)
        finally:
            self.scopes.pop()
            self._depth -= 1

    def _statement(self, node: ast.Statement | ast.Pragma) -> None:
        match node:
            case ast.QuantumGate():
                self._gate(node)
            case ast.QuantumPhase():
                self._phase(node)
            case ast.QuantumMeasurementStatement():
                self._assign_measured(node)
            case ast.QuantumBarrier():
                self._barrier(node)
            case ast.QuantumReset():
                for place in self.qubits(node.qubits).places:
                    self._emit(Reset(), (place,))
            case ast.QubitDeclaration():
                self._declare_qubits(node)
            case ast.ClassicalDeclaration():
                self._declare(node.identifier.name, node.type, node.init_expression, constant=False)
            case ast.ConstantDeclaration():
                self._declare(node.identifier.name, node.type, node.init_expression, constant=True)
            case ast.IODeclaration():
                self._declare_io(node)
            case ast.ClassicalAssignment():
                self._assign(node)
            case ast.BranchingStatement():
                self._branch(
                    truth(self.value(node.condition)),
                    lambda: self._block(node.if_block),
                    lambda: self._block(node.else_block),
                )
            case ast.ForInLoop():
                self._for(node)
            case ast.WhileLoop():
                self._while(node)
            case ast.SwitchStatement():
                self._switch(node)
            case ast.AliasStatement():
                self._alias(node)
            case ast.QuantumGateDefinition():
                self._define_gate(node)
            case ast.SubroutineDefinition():
                self.declare(node.name.name, Subroutine(node))
            case ast.ExpressionStatement():
                self._expression_statement(node)
            case ast.CompoundStatement():
                self._block(node.statements)
            case ast.Box():
                self._block(node.body)
            case ast.Include():
                self._include(node)
            case ast.BreakStatement() | ast.ContinueStatement():
                if not self._loop_guards:
                    raise wrong("break and continue need a loop around them")
                if self._guard != self._loop_guards[-1]:
                    raise unsupported("break or continue that depends on a measurement")
                raise _Break if isinstance(node, ast.BreakStatement) else _Continue
            case ast.ReturnStatement():
                self._return(node)
            case ast.EndStatement():
                if self._guard != TRUE:
                    raise unsupported("end that depends on a measurement")
                raise _End
            case ast.DelayInstruction():
                self._warn("delays are not simulated")
            case ast.Pragma():
                self._warn("pragmas are ignored")
            case _:
                raise unsupported(f"{_words(node)} is not supported")

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _include(self, node: ast.Include) -> None:
        if node.filename != "stdgates.inc":
            raise unsupported('only include "stdgates.inc" is read; put other definitions into the program itself')
        self.library.update(gates.STANDARD)

    # ---- declarations

    def _declare_qubits(self, node: ast.QubitDeclaration) -> None:
        size = 1 if node.size is None else self.integer(node.size, "a size")
        if size < 1:
            raise wrong("a register needs at least one qubit")
        self.declare(node.qubit.name, Qubits(self._builder.add_qubits(size), scalar=node.size is None))

    def _declare(self, name: str, kind: ast.ClassicalType, init: object, constant: bool) -> None:
        if isinstance(kind, ast.ArrayType):
            self._declare_array(name, kind, init, constant)
            return
        declared = self.type(kind)
        variable = Variable(name, declared, 0, constant)
        if declared.kind == "bit":
            size = declared.width or 1
            homes = self._builder.add_clbits(size) if not self._hub_loops else ()
            variable.homes = dict(enumerate(homes))
            variable.value = Bits((FALSE,) * size, scalar=not declared.width)
        if isinstance(init, ast.QuantumMeasurement):
            places = self.qubits(init.qubit).places
            if declared.kind == "bit":
                self.declare(name, variable)
                self._measure_into(places, View(variable, tuple(range(declared.width or 1))))
                return
            variable.value = coerce(declared, self._measure(places))
        elif init is not None:
            variable.value = coerce(declared, self.value(init))
        elif declared.kind != "bit":
            variable.value = coerce(declared, 0)
        self.declare(name, variable)

    def _declare_array(self, name: str, kind: ast.ArrayType, init: object, constant: bool) -> None:
        base = self.type(kind.base_type)
        sizes = [self.integer(each, "a size") for each in kind.dimensions]
        if min(sizes) < 1 or math.prod(sizes) > 65_536:
            raise too_large("an array has no element, or more than 65536")

        def fill(node: object, level: int) -> object:
            if level == len(sizes):
                return coerce(base, 0 if node is None else self.value(node))
            if isinstance(node, ast.Identifier):
                entry = self.lookup(node.name)
                if isinstance(entry, Variable) and isinstance(entry.value, tuple):
                    return entry.value
            if node is not None and (not isinstance(node, ast.ArrayLiteral) or len(node.values) != sizes[level]):
                raise wrong(f"the array {name!r} is not given as many values as it has")
            values = node.values if isinstance(node, ast.ArrayLiteral) else [None] * sizes[level]
            return tuple(fill(each, level + 1) for each in values)

        value = fill(init, 0)
        assert isinstance(value, tuple)
        self.declare(name, Variable(name, base, value, constant))

    def _declare_io(self, node: ast.IODeclaration) -> None:
        name = node.identifier.name
        if node.io_identifier.name == "input":
            raise unsupported(f"the program has an input, {name!r}, and jobs give none: put its value into the program")
        self._declare(name, node.type, None, constant=False)
        entry = self.scopes[-1][name]
        if isinstance(entry, Variable) and entry.type.kind == "bit":
            self._outputs.append(entry)
        else:
            self._warn(f"the output {name!r} is not shown: results hold bits")

    def _alias(self, node: ast.AliasStatement) -> None:
        self.declare(node.target.name, self._aliased(node.value))

    def _aliased(self, node: ast.Expression) -> Entry:
        if isinstance(node, ast.Concatenation):
            left, right = self._aliased(node.lhs), self._aliased(node.rhs)
            if isinstance(left, Qubits) and isinstance(right, Qubits):
                return Qubits(left.places + right.places)
            raise unsupported("let with ++ is done for qubits only")
        if isinstance(node, ast.IndexExpression):
            whole = self._aliased(node.collection)
            if isinstance(whole, Qubits):
                places, single = self.indices(node.index, len(whole.places))
                return Qubits(tuple(whole.places[place] for place in places), scalar=single)
            if isinstance(whole, Variable | View):
                view = self._as_view(whole)
                places, _ = self.indices(node.index, len(view.places))
                return View(view.variable, tuple(view.places[place] for place in places))
        if isinstance(node, ast.Identifier):
            entry = self._physical_qubit(node.name) or self.lookup(node.name)
            if isinstance(entry, Qubits | Variable | View):
                return entry
        raise unsupported("let needs qubits or bits")

    def _as_view(self, entry: Variable | View) -> View:
        if isinstance(entry, View):
            return entry
        if not isinstance(entry.value, Bits):
            raise wrong(f"{entry.name!r} is not a register of bits")
        return View(entry, tuple(range(len(entry.value.formulas))))

    # ---- qubits and measurement

    def qubits(self, node: object) -> Qubits:
        """The qubits an operand names."""
        if isinstance(node, ast.Identifier):
            entry = self._physical_qubit(node.name) or self.lookup(node.name)
            if not isinstance(entry, Qubits):
                raise wrong(f"{node.name!r} is not a qubit of this program")
            return entry
        if isinstance(node, ast.IndexedIdentifier):
            current = self.qubits(node.name)
            for index in node.indices:
                if current.scalar:
                    raise wrong(f"{node.name.name!r} is a single qubit and cannot be indexed")
                places, single = self.indices(index, len(current.places))
                current = Qubits(tuple(current.places[place] for place in places), scalar=single)
            return current
        if isinstance(node, ast.IndexExpression | ast.Concatenation):
            entry = self._aliased(node)
            if isinstance(entry, Qubits):
                return entry
        raise wrong("an operand is not a qubit")

    def _physical_qubit(self, name: str) -> Qubits | None:
        if not name.startswith("$"):
            return None
        if name not in self._physical:
            self._physical[name] = self._builder.add_qubits(1)[0]
        return Qubits((self._physical[name],), scalar=True)

    def _emit(
        self, operation: Gate | Reset | Measure | Barrier, qubits: tuple[int, ...], clbits: tuple[int, ...] = ()
    ) -> None:
        if self._sink is not None:
            if not isinstance(operation, Gate):
                raise wrong("a gate's body holds gates only")
            self._sink.append((operation, qubits))
            return
        self._builder.append(self._guard, operation, qubits, clbits)

    def _measure(self, places: Sequence[int], homes: Sequence[int | None] = ()) -> Bits:
        """Measure, each qubit into a hub bit that nothing was written to before."""
        if self._sink is not None:
            raise wrong("a gate's body cannot measure")
        formulas = []
        for k, place in enumerate(places):
            home = homes[k] if homes else None
            clbit = self._builder.add_clbits(1)[0] if home is None else home
            self._born.add(clbit)
            self._emit(Measure(), (place,), (clbit,))
            formulas.append(bit(clbit))
        return Bits(tuple(formulas), scalar=len(formulas) == 1)

    def _measure_into(self, places: Sequence[int], target: View) -> None:
        if len(places) != len(target.places):
            raise wrong(f"{len(places)} qubits cannot be measured into {len(target.places)} bits")
        variable = target.variable
        homes = [None if self._hub_loops else variable.homes.pop(place, None) for place in target.places]
        measured = self._measure(places, homes)
        self._write_bits(target, measured.formulas)

    def _assign_measured(self, node: ast.QuantumMeasurementStatement) -> None:
        places = self.qubits(node.measure.qubit).places
        if node.target is None:
            self._measure(places)
            return
        entry = self.lookup(node.target.name if isinstance(node.target, ast.Identifier) else node.target.name.name)
        if isinstance(entry, Variable) and entry.type.kind != "bit":
            self._write(entry, coerce(entry.type, self._measure(places)))
            return
        self._measure_into(places, self._target(node.target))

    def _barrier(self, node: ast.QuantumBarrier) -> None:
        places = [place for each in node.qubits for place in self.qubits(each).places]
        if self._sink is None and (places or not node.qubits):
            every = places or list(range(self._builder.qubits))
            if every:
                self._emit(Barrier(len(every)), tuple(every))

    # ---- assignment

    def _target(self, node: ast.Identifier | ast.IndexedIdentifier) -> View:
        """The bits an assignment is about."""
        name = node.name if isinstance(node, ast.Identifier) else node.name.name
        entry = self.lookup(name)
        if not isinstance(entry, Variable | View):
            raise wrong(f"{name!r} is not a register of bits")
        view = self._as_view(entry)
        if isinstance(node, ast.IndexedIdentifier):
            for index in node.indices:
                places, _ = self.indices(index, len(view.places))
                view = View(view.variable, tuple(view.places[place] for place in places))
        return view

    def _assign(self, node: ast.ClassicalAssignment) -> None:
        name = node.lvalue.name if isinstance(node.lvalue, ast.Identifier) else node.lvalue.name.name
        entry = self.lookup(name)
        operator = node.op.name.removesuffix("=") if node.op.name != "=" else ""
        if isinstance(node.rvalue, ast.QuantumMeasurement):
            self._measure_into(self.qubits(node.rvalue.qubit).places, self._target(node.lvalue))
            return
        value = self.value(node.rvalue)
        if isinstance(entry, Variable) and isinstance(entry.value, tuple):
            self._assign_element(entry, node, operator, value)
        elif isinstance(entry, Variable) and isinstance(node.lvalue, ast.Identifier) and entry.type.kind != "bit":
            old = entry.value
            assert not isinstance(old, tuple)
            self._write(entry, coerce(entry.type, binary(operator, old, value) if operator else value))
        else:
            view = self._target(node.lvalue)
            if operator:
                value = binary(operator, self.view(view), value)
            width = len(view.places)
            if width == 1:
                value = Bits((truth(value),), scalar=True)
            self._write_bits(view, as_bits(value, width).formulas)

    def _assign_element(self, entry: Variable, node: ast.ClassicalAssignment, operator: str, value: Value) -> None:
        assert isinstance(node.lvalue, ast.IndexedIdentifier)
        path = [
            self.integer(each, "an index")
            for index in node.lvalue.indices
            if not isinstance(index, ast.DiscreteSet)
            for each in index
            if not isinstance(each, ast.RangeDefinition)
        ]

        def put(array: object, rest: list[int]) -> object:
            if not rest:
                assert not isinstance(array, tuple)
                return coerce(entry.type, binary(operator, array, value) if operator else value)  # type: ignore[arg-type]
            if not isinstance(array, tuple) or not -len(array) <= rest[0] < len(array):
                raise wrong(f"an index of {entry.name!r} is out of range")
            place = rest[0] % len(array)
            return (*array[:place], put(array[place], rest[1:]), *array[place + 1 :])

        changed = put(entry.value, path)
        assert isinstance(changed, tuple)
        self._write(entry, changed)

    def _write_bits(self, view: View, formulas: Sequence[Formula]) -> None:
        old = view.variable.value
        assert isinstance(old, Bits)
        changed = list(old.formulas)
        for place, formula in zip(view.places, formulas, strict=True):
            changed[place] = formula
        self._write(view.variable, Bits(tuple(changed), old.scalar))

    def _write(self, variable: Variable, value: Value | tuple[object, ...]) -> None:
        if variable.constant:
            raise wrong(f"{variable.name!r} is constant")
        for journal in self._journals[-1:]:
            journal.setdefault(id(variable), (variable, variable.value))
        variable.value = value

    # ---- what depends on measurements

    @contextmanager
    def _recorded(self) -> Iterator[dict[int, tuple[Variable, Value | tuple[object, ...]]]]:
        """Notes what is written meanwhile, with the values before; the journal outside learns of it too."""
        journal: dict[int, tuple[Variable, Value | tuple[object, ...]]] = {}
        self._journals.append(journal)
        try:
            yield journal
        finally:
            self._journals.pop()
            if self._journals:
                for key, entry in journal.items():
                    self._journals[-1].setdefault(key, entry)

    def _branch(self, condition: Formula, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Do one of two things; both, under guards, where only a run can tell which."""
        if condition == TRUE:
            then()
        elif condition == FALSE:
            otherwise()
        else:
            first = self._guarded(condition, then)
            second = self._guarded(negation(condition), otherwise)
            for variable, value, born in first.values():
                before = variable.value
                other = second.pop(id(variable), (variable, before, frozenset()))[1]
                self._write(variable, self._merged(condition, value, other, born))
            for variable, value, born in second.values():
                self._write(variable, self._merged(negation(condition), value, variable.value, born))

    def _guarded(
        self, condition: Formula, action: Callable[[], None]
    ) -> dict[int, tuple[Variable, Value | tuple[object, ...], frozenset[int]]]:
        """Do something under a further condition; returns what it wrote, having put everything back."""
        outer, outer_born = self._guard, self._born
        self._guard, self._born = conjunction((outer, condition)), set()
        with self._recorded() as journal:
            action()
        born = frozenset(self._born)
        self._guard, self._born = outer, outer_born | born
        written = {}
        for key, (variable, before) in journal.items():
            written[key] = (variable, variable.value, born)
            variable.value = before
        return written

    def _merged(
        self,
        condition: Formula,
        then: Value | tuple[object, ...],
        otherwise: Value | tuple[object, ...],
        born: frozenset[int],
    ) -> Value | tuple[object, ...]:
        if isinstance(then, tuple) or isinstance(otherwise, tuple):
            if not isinstance(then, tuple) or not isinstance(otherwise, tuple):
                raise wrong("an array cannot be put in the place of a number")
            return tuple(
                self._merged(condition, a, b, born)  # type: ignore[arg-type]
                for a, b in zip(then, otherwise, strict=True)
            )
        if isinstance(then, Bits) and isinstance(otherwise, Bits) and len(then.formulas) == len(otherwise.formulas):
            # A bit that is measured under the condition is 0 where it does not hold.
            return Bits(
                tuple(
                    a if b == FALSE and a.kind == "bit" and a.number in born else choice(condition, a, b)
                    for a, b in zip(then.formulas, otherwise.formulas, strict=True)
                ),
                then.scalar,
            )
        return merge(condition, then, otherwise)

    def _for(self, node: ast.ForInLoop) -> None:
        declared = self.type(node.type)
        values: Sequence[Value]
        if isinstance(node.set_declaration, ast.RangeDefinition):
            values = self.range(node.set_declaration)
        elif isinstance(node.set_declaration, ast.DiscreteSet):
            values = [self.value(each) for each in node.set_declaration.values]
        else:
            values = self._elements(node.set_declaration)
        try:
            count = len(values)
        except OverflowError:
            count = MAX_STEPS + 1
        if count > MAX_STEPS - self._steps:
            raise too_large(f"a loop of {count} rounds takes more than the {MAX_STEPS} steps a program may take")
        self._loop_guards.append(self._guard)
        try:
            for value in values:
                self._steps += 1
                variable = Variable(node.identifier.name, declared, coerce(declared, value))
                try:
                    self._block(node.block, {variable.name: variable})
                except _Continue:
                    continue
                except _Break:
                    break
        finally:
            self._loop_guards.pop()

    def _elements(self, node: ast.Expression) -> Sequence[Value]:
        array = self._array(node)
        if array is not None:
            return array  # type: ignore[return-value]
        value = self.value(node)
        if isinstance(value, Bits):
            return [Bits((formula,), scalar=True) for formula in value.formulas]
        raise wrong("a loop needs a range, a set, an array or bits")

    def _while(self, node: ast.WhileLoop) -> None:
        self._loop_guards.append(self._guard)
        try:
            while True:
                condition = truth(self.value(node.while_condition))
                if condition == FALSE:
                    return
                if condition != TRUE:
                    break
                self._steps += 1
                if self._steps > MAX_STEPS:
                    raise too_large(f"a while loop takes more than the {MAX_STEPS} steps a program may take")
                try:
                    self._block(node.block)
                except _Continue:
                    continue
                except _Break:
                    return
        finally:
            self._loop_guards.pop()
        self._hub_loop(node)

    def _hub_loop(self, node: ast.WhileLoop) -> None:
        """A loop whose end depends on a measurement: what it writes lives in bits of the hub, set after each round."""
        outer_block, outer_guard = self._builder.block, self._guard
        self._hub_loops += 1
        self._loop_guards.append(FALSE)  # no guard is FALSE: any break in here is refused
        self._guard = TRUE
        try:
            self._builder.block = Block()
            with self._recorded() as journal:
                self._block(node.block)
            changed = [variable for variable, _ in journal.values()]
            for variable, before in journal.values():
                variable.value = before
            homes: list[tuple[Variable, tuple[int, ...]]] = []
            self._builder.block = outer_block
            self._guard = outer_guard
            for variable in changed:
                value = variable.value
                if not isinstance(value, Bits):
                    raise unsupported(
                        f"a loop that ends by a measurement changes {variable.name!r}: it may change bits only"
                    )
                own = self._builder.add_clbits(len(value.formulas))
                for place, formula in zip(own, value.formulas, strict=True):
                    if formula != FALSE:
                        self._builder.append(self._guard, Write(place, formula))
                homes.append((variable, own))
                self._write(variable, Bits(tuple(bit(place) for place in own), value.scalar))
            condition = truth(self.value(node.while_condition))
            body = self._builder.block = Block()
            self._guard = TRUE
            self._block(node.block)
            writes = []
            for variable, own in homes:
                value = variable.value
                assert isinstance(value, Bits)
                for place, formula in zip(own, value.formulas, strict=True):
                    if formula != bit(place):
                        writes.append((place, formula))
            targets = {place for place, _ in writes}
            held = {
                place: self._builder.add_clbits(1)[0] for place, formula in writes if formula.bits & targets - {place}
            }
            for place, formula in writes:
                if place in held:
                    self._builder.append(TRUE, Write(held[place], formula))
            for place, formula in writes:
                self._builder.append(TRUE, Write(place, bit(held[place]) if place in held else formula))
            for variable, own in homes:
                old = variable.value
                assert isinstance(old, Bits)
                variable.value = Bits(tuple(bit(place) for place in own), old.scalar)
        finally:
            self._builder.block, self._guard = outer_block, outer_guard
            self._loop_guards.pop()
            self._hub_loops -= 1
        self._builder.append(self._guard, Loop(condition, body))

    def _switch(self, node: ast.SwitchStatement) -> None:
        target = self.value(node.target)
        cases = [
            (truth(_any(equal(target, self.value(each)) for each in values)), block) for values, block in node.cases
        ]

        def choose(place: int) -> None:
            if place < len(cases):
                condition, block = cases[place]
                self._branch(condition, lambda: self._block(block.statements), lambda: choose(place + 1))
            elif node.default is not None:
                self._block(node.default.statements)

        choose(0)

    # ---- subroutines

    def _expression_statement(self, node: ast.ExpressionStatement) -> None:
        if isinstance(node.expression, ast.FunctionCall):
            entry = self.lookup(node.expression.name.name)
            if isinstance(entry, Subroutine):
                self._call(node.expression, entry)
                return
            if entry is None:
                raise ProgramError("UNKNOWN_GATE", f"there is no gate or subroutine {node.expression.name.name!r}")
        self.value(node.expression)

    def call(self, node: ast.FunctionCall, subroutine: Subroutine) -> Value:
        value = self._call(node, subroutine)
        if value is None:
            raise wrong(f"{node.name.name!r} returns nothing")
        return value

    def _call(self, node: ast.FunctionCall, subroutine: Subroutine) -> Value | None:
        definition = subroutine.node
        if len(node.arguments) != len(definition.arguments):
            raise wrong(f"{node.name.name!r} takes {len(definition.arguments)} arguments")
        names: dict[str, Entry] = {}
        for argument, given in zip(definition.arguments, node.arguments, strict=True):
            if isinstance(argument, ast.QuantumArgument):
                qubits = self.qubits(given)
                size = 1 if argument.size is None else self.integer(argument.size, "a size")
                if size != len(qubits.places):
                    raise wrong(f"{node.name.name!r} takes {size} qubits as {argument.name.name!r}")
                names[argument.name.name] = Qubits(qubits.places, scalar=argument.size is None)
            elif isinstance(argument.type, ast.ArrayReferenceType | ast.ArrayType):
                entry = self.lookup(given.name) if isinstance(given, ast.Identifier) else None
                if not isinstance(entry, Variable) or not isinstance(entry.value, tuple):
                    raise wrong(f"{node.name.name!r} takes an array as {argument.name.name!r}")
                names[argument.name.name] = entry
            else:
                declared = self.type(argument.type)
                names[argument.name.name] = Variable(argument.name.name, declared, coerce(declared, self.value(given)))
        kept, self.scopes = self.scopes, self.scopes[:1]
        loops, self._loop_guards = self._loop_guards, []
        self._call_guards.append(self._guard)
        result: Value | None = None
        try:
            self._block(definition.body, names)
        except _Return as returned:
            result = returned.value
        finally:
            self.scopes, self._loop_guards = kept, loops
            self._call_guards.pop()
        if result is not None and definition.return_type is not None:
            result = coerce(self.type(definition.return_type), result)
        return result

    def _return(self, node: ast.ReturnStatement) -> None:
        if not self._call_guards:
            raise wrong("return needs a subroutine around it")
        if self._guard != self._call_guards[-1]:
            raise unsupported("return that depends on a measurement")
        if isinstance(node.expression, ast.QuantumMeasurement):
            raise _Return(self._measure(self.qubits(node.expression.qubit).places))
        raise _Return(None if node.expression is None else self.value(node.expression))

    # ---- gates

    def _define_gate(self, node: ast.QuantumGateDefinition) -> None:
        name = node.name.name
        if name in self.library:
            self._warn(f"the gate {name!r} is the program's own, not the one of the library")
        self.declare(name, GateDefinition(node))

    def _gate(self, node: ast.QuantumGate) -> None:
        parameters = [number(self.value(each)) for each in node.arguments]
        operands = [self.qubits(each) for each in node.qubits]
        if any(isinstance(each, Table) for each in parameters):
            self._for_each_value(parameters, lambda known: self._apply(node, known, operands))
        else:
            self._apply(node, parameters, operands)

    def _for_each_value(self, values: Sequence[Value], action: Callable[[list[Value]], None]) -> None:
        """Do something once for each combination of values that measurements may give, under that condition."""
        tables = [value for value in values if isinstance(value, Table)]
        if not tables:
            action(list(values))
            return
        first = tables[0]
        place = next(k for k, value in enumerate(values) if value is first)
        for each in dict.fromkeys(first.values):
            rest: list[Value] = [*values[:place], each, *values[place + 1 :]]
            condition = truth(equal(first, each))

            def then(rest: list[Value] = rest) -> None:
                self._for_each_value(rest, action)

            self._branch(condition, then, lambda: None)

    def _phase(self, node: ast.QuantumPhase) -> None:
        angle = number(self.value(node.argument))
        operands = [self.qubits(each) for each in node.qubits]

        def with_angle(known: list[Value]) -> None:
            steps, controls = self._modified(node.modifiers, gates.phase(_real(known[0])), 0)
            self._broadcast(steps, controls, operands)

        self._for_each_value([angle], with_angle)

    def _apply(self, node: ast.QuantumGate, parameters: Sequence[Value], operands: Sequence[Qubits]) -> None:
        name = node.name.name
        steps, size = self._steps_of(name, tuple(_real(each) for each in parameters))
        steps, size = self._modified(node.modifiers, steps, size)
        if size != len(operands):
            raise wrong(f"{name!r} acts on {size} qubits here, not {len(operands)}")
        self._broadcast(steps, size, operands)

    def _broadcast(self, steps: Sequence[gates.Step], size: int, operands: Sequence[Qubits]) -> None:
        if len(operands) != size:
            raise wrong(f"{size} qubits are needed here, not {len(operands)}")
        lengths = {len(each.places) for each in operands if not each.scalar}
        if len(lengths) > 1:
            raise wrong("the registers a gate acts on differ in size")
        rounds = lengths.pop() if lengths else 1
        if self._sink is not None:
            self._builder.spend(len(steps) * rounds)
        for k in range(rounds):
            places = [each.places[0] if each.scalar else each.places[k] for each in operands]
            if len(set(places)) != len(places):
                raise wrong("a gate acts on one qubit twice")
            if self._sink is not None:
                self._sink.extend([(gate, tuple([places[place] for place in own])) for gate, own in steps])
                continue
            for gate, own in steps:
                if own:  # a global phase of the whole program is seen by nobody
                    self._emit(gate, tuple(places[place] for place in own))

    def _steps_of(self, name: str, parameters: tuple[float, ...]) -> tuple[list[gates.Step], int]:
        """What a gate is made of, on places 0, 1, ...; and how many."""
        entry = self.lookup(name)
        if isinstance(entry, GateDefinition):
            return self._defined(entry, parameters)
        known = self.library.get(name)
        if known is None and "cx" in self.library and name in gates.EXTRA:
            known = gates.EXTRA[name]
            self._warn(f"the gate {name!r} is not in stdgates.inc; taken for the usual one")
        if known is None or entry is not None:
            hint = "" if "cx" in self.library else ' (the program does not include "stdgates.inc")'
            raise ProgramError("UNKNOWN_GATE", f"there is no gate {name!r}: define it with `gate`{hint}")
        if len(parameters) != known.parameters:
            raise wrong(f"{name!r} takes {known.parameters} parameters, not {len(parameters)}")
        return known.steps(parameters), known.qubits

    def _defined(self, entry: GateDefinition, parameters: tuple[float, ...]) -> tuple[list[gates.Step], int]:
        node = entry.node
        if len(parameters) != len(node.arguments):
            raise wrong(f"{node.name.name!r} takes {len(node.arguments)} parameters, not {len(parameters)}")
        key = (id(node), parameters)
        kept = self._definitions.get(key)
        if kept is not None:
            return kept
        names: dict[str, Entry] = {}
        for argument, value in zip(node.arguments, parameters, strict=True):
            names[argument.name] = Variable(argument.name, Type("float"), value, constant=True)
        for place, qubit in enumerate(node.qubits):
            names[qubit.name] = Qubits((place,), scalar=True)
        outer, self._sink = self._sink, []
        kept_scopes, self.scopes = self.scopes, self.scopes[:1]
        guard, self._guard = self._guard, TRUE
        try:
            self._block(node.body, names)
            steps = self._sink
        finally:
            self._sink, self.scopes, self._guard = outer, kept_scopes, guard
        self._definitions[key] = (steps, len(node.qubits))
        return self._definitions[key]

    def _modified(
        self, modifiers: Sequence[ast.QuantumGateModifier], steps: list[gates.Step], size: int
    ) -> tuple[list[gates.Step], int]:
        for modifier in reversed(modifiers):
            kind = modifier.modifier.name
            if kind == "inv":
                steps = gates.inverse(steps)
            elif kind == "pow":
                assert modifier.argument is not None
                exponent = number(self.value(modifier.argument))
                if isinstance(exponent, Table):
                    raise unsupported("pow() by a number that depends on a measurement")
                steps = gates.power(steps, _real(exponent), size, self._builder.spend)
            else:
                controls = 1 if modifier.argument is None else self.integer(modifier.argument, "a number of controls")
                if controls < 1:
                    raise wrong("ctrl() needs at least one control")
                steps = gates.control(steps, controls, positive=kind == "ctrl")
                size += controls
            if len(steps) > 1:
                self._builder.spend(len(steps))
        return steps, size


def _any(values: Iterator[Value]) -> Value:
    result: Value = False
    for value in values:
        result = binary("||", result, value)
    return result


def _real(value: Value) -> float:
    if isinstance(value, complex | Bits | Table):
        raise wrong("a gate's parameter is not a real number")
    if not math.isfinite(value):
        raise wrong("a gate's parameter is not a finite number")
    return float(value)


def _words(node: object) -> str:
    name = type(node).__name__
    return "".join(" " + letter.lower() if letter.isupper() else letter for letter in name).strip()
