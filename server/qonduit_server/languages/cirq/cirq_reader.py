# SPDX-License-Identifier: Apache-2.0
"""Reader of circuits in Cirq's JSON (as `cirq.to_json` of 1.x writes them).

It reads only allowlisted types, and evaluates none of their fields as source text. Cirq itself passes texts to SymPy,
which executes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from qiskit.circuit import Gate, Measure, Reset
from qiskit.circuit.library import IGate, StatePreparation

from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Block, Builder
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.controls import Step
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, conjunction, negation
from qonduit_server.ir.limits import MAX_DEPTH, MAX_OPERATIONS, too_large
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.languages import gate_modifiers, pauli_strings
from qonduit_server.languages.cirq import cirq_gates, noise_channels, qubit_ids, subcircuits
from qonduit_server.languages.cirq.classical_controls import Conditions, Keys, Record, Records, texts
from qonduit_server.languages.cirq.gate_parts import (
    Context,
    Parts,
    check_dimension,
    check_levels,
    complex_number,
    controlled,
    count,
    kind_of,
    unknown,
)
from qonduit_server.languages.cirq.loops import Loops, places_of
from qonduit_server.languages.cirq.qubit_ids import Qubit, qubit
from qonduit_server.languages.cirq.shared_circuits import CIRCUITS, Shared
from qonduit_server.languages.cirq.symbols import Symbols
from qonduit_server.languages.json_text import Node, mapping, parse, sequence, text, unsupported, wrong
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs

#: Maximum CPU seconds for reading, without parsing.
MAX_SECONDS: Final = 5.0
_NO_ERRORS: Final[Mapping[int, ReadoutError]] = MappingProxyType({})


def read(source: str, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a circuit; identities become gates only if "id" is one of the names.

    Raises:
        ProgramError: with line and column for invalid JSON, else with moment and operation.
    """
    root = parse(source, Shared())
    if not isinstance(root, dict) or "cirq_type" not in root:
        hint = ": this looks like IonQ's" if isinstance(root, dict) and {"circuit", "input"} & root.keys() else ""
        raise ProgramError("WRONG_LANGUAGE", f"this is not a circuit in Cirq's JSON{hint}; write it with cirq.to_json")
    if kind_of(root, "the program") not in CIRCUITS:
        raise unsupported("the program is not a cirq.Circuit: put it into one and write that with cirq.to_json")
    reading = _CircuitReader(inputs, gate_names)
    try:
        reading.circuit(root, _Frame(Keys(), reading.symbols))
        return reading.result()
    except RecursionError:
        raise too_large("circuits, gates or expressions are nested too deep") from None


@dataclass(frozen=True)
class _Frame:
    """The context of an operation: its circuit and condition."""

    keys: Keys
    symbols: Symbols
    #: Qubit maps to the enclosing circuits, innermost first.
    moved: tuple[dict[Qubit, Qubit], ...] = ()
    guard: Formula = TRUE
    inverted: bool = False
    conditional: bool = False
    #: Whether the circuit is nested in another, and in a loop.
    within: bool = False
    looping: bool = False
    #: The number of records that loops keep of each of their keys; see `loops`.
    records: int = 0
    depth: int = 0

    def deeper(self) -> _Frame:
        if self.depth >= MAX_DEPTH:
            raise too_large(f"circuits and operations are nested more than {MAX_DEPTH} deep")
        return replace(self, depth=self.depth + 1)


class _CircuitReader:
    """The state of reading one program."""

    def __init__(self, inputs: Inputs, gate_names: frozenset[str]) -> None:
        self._keep_identities = "id" in gate_names
        self._deadline = time.thread_time() + MAX_SECONDS
        self._inputs = inputs
        self._used: set[str] = set()
        self.symbols = Symbols(inputs, self._used, self._tick, by_name=bool(gate_names))
        self._builder = Builder()
        self._records = Records()
        self._loops = Loops(self._builder, self._records)
        self._places: dict[Qubit, int] = {}
        #: IR qubits that the current operation acts on.
        self._touched: set[int] = set()
        #: Whether the operation is controlled: global phases count, and only gates are allowed.
        self._gates_only = False
        self._exact = True
        self._kept: dict[tuple[int, int], tuple[Parts, object, object]] = {}
        self._warnings: dict[str, None] = {}

    def result(self) -> Circuit:
        """Return the circuit, with its qubits in Cirq's order."""
        qubits = sorted(self._places)
        order = {self._places[each]: place for place, each in enumerate(qubits)}
        if any(old != new for old, new in order.items()):
            self._builder.renumber(order)
        warnings = (*self._warnings, *unused(self._inputs, self._used))
        registers = (*self._records.registers(), *self._loops.registers())
        return Circuit(self._builder.finish(), registers, warnings, qubit_names=qubit_ids.grid_names(qubits))

    def _tick(self) -> None:
        if time.thread_time() > self._deadline:
            raise too_large(f"reading the program takes more than {MAX_SECONDS:.0f} seconds")

    # ---- circuits

    def circuit(self, node: Node, frame: _Frame) -> None:
        """Read all moments, in reverse order for an inverted circuit."""
        moments = list(enumerate(sequence(node.get("moments"), "moments"), start=1))
        for number, moment in reversed(moments) if frame.inverted else moments:
            if kind_of(moment, "a moment") != "Moment":
                raise wrong("a circuit contains an object that is not a Moment")
            outer, used = self._touched, set[int]()
            self._builder.spend(1)
            fields = mapping(moment, "a moment")
            for place, operation in enumerate(sequence(fields.get("operations"), "operations"), start=1):
                self._touched = set()
                try:
                    self._operation(operation, frame)
                    if used & self._touched:
                        raise wrong("two operations of one moment act on the same qubit")
                except ProgramError as error:
                    raise _placed(error, number, place) from None
                used |= self._touched
            frame.keys.close_moment()
            self._touched = outer | used

    def _operation(self, node: object, frame: _Frame) -> None:
        self._tick()
        kind = kind_of(node, "an operation")
        fields = mapping(node, "an operation")
        match kind:
            case "GateOperation":
                self._gate(fields.get("gate"), sequence(fields.get("qubits"), "qubits"), frame)
            case "SingleQubitPauliStringGateOperation":
                self._gate(fields.get("pauli"), [fields.get("qubit")], frame)
            case "TaggedOperation":
                places = places_of(fields, frame.looping and not frame.records)
                inner = replace(frame.deeper(), records=places or frame.records)
                self._operation(fields.get("sub_operation"), inner)
            case "ClassicallyControlledOperation":
                self._conditional(fields, frame.deeper())
            case "ControlledOperation":
                self._controlled(fields, frame.deeper())
            case "CircuitOperation":
                self._subcircuit(fields, frame.deeper())
            case "PauliString":
                pairs = [sequence(each, "a pair") for each in sequence(fields.get("qubit_pauli_map"), "a Pauli string")]
                letters, phase = _pauli_string(fields, pairs)
                self._emit(cirq_gates.pauli_product(letters, phase), [pair[0] for pair in pairs], frame)
            case "PauliStringPhasor":
                self._phasor(fields, frame)
            case _:
                raise unknown(kind)

    # ---- gates

    def _gate(self, gate: object, qubits: list[object], frame: _Frame) -> None:
        kind = kind_of(gate, "a gate")
        fields = mapping(gate, "a gate")
        match kind:
            case "MeasurementGate":
                self._measurement(fields, qubits, frame)
            case "PauliMeasurementGate":
                self._pauli_measurement(fields, qubits, frame)
            case "ResetChannel":
                check_dimension(fields)
                self._reset(self._at(qubits, 1, frame), frame)
            case "StatePreparationChannel":
                self._preparation(fields, qubits, frame)
            case "WaitGate":
                check_levels(fields)
                self._at(qubits, count(fields, "num_qubits") if "num_qubits" in fields else len(qubits), frame)
                self._warnings["a WaitGate does nothing here: simulators have no time"] = None
            case "IdentityGate" if self._keep_identities and not self._gates_only:
                size = self._parts(gate, frame).qubits
                self._emit(Parts([(IGate(), (place,)) for place in range(size)], size), qubits, frame)
            case _ if (noise := noise_channels.read(kind, fields)) is not None:
                self._channel(*noise, qubits, frame)
            case _:
                self._emit(self._parts(gate, frame), qubits, frame)

    def _parts(self, gate: object, frame: _Frame) -> Parts:
        """Return the parts of a gate, cached for repeated circuits."""
        key = (id(gate), id(frame.symbols))
        if key not in self._kept:
            parts = cirq_gates.build(gate, Context(frame.symbols, self._builder.spend, cirq_gates.build))
            self._kept[key] = (parts, gate, frame.symbols)
        return self._kept[key][0]

    def _at(self, qubits: list[object], size: int, frame: _Frame) -> tuple[int, ...]:
        """Return the IR qubits of an operation, which must be `size` many."""
        if len(qubits) != size:
            raise wrong(f"a gate on {size} qubits is given {len(qubits)}")
        places = tuple([self._place(qubit(each), frame) for each in qubits])
        if len(set(places)) != size:
            raise wrong("an operation acts on one qubit twice")
        self._touched.update(places)
        return places

    def _place(self, name: Qubit, frame: _Frame) -> int:
        for map_ in frame.moved:
            name = map_.get(name, name)
        if name not in self._places:
            (self._places[name],) = self._builder.add_qubits(1)
        return self._places[name]

    def _emit(self, parts: Parts, qubits: list[object], frame: _Frame) -> None:
        """Append a gate to the IR."""
        places = self._at(qubits, parts.qubits, frame)
        self._exact &= parts.exact
        for gate, own in gate_modifiers.inverse(parts.steps) if frame.inverted else parts.steps:
            if own or self._gates_only:  # a global phase of the whole program is not observable
                self._builder.append(frame.guard, gate, [places[place] for place in own])

    def _phasor(self, fields: Node, frame: _Frame) -> None:
        string = mapping(fields.get("pauli_string"), "pauli_string")
        pairs = [sequence(each, "a pair") for each in sequence(string.get("qubit_pauli_map"), "a Pauli string")]
        letters, phase = _pauli_string(string, pairs)
        qubits = [pair[0] for pair in pairs]
        idle = len(sequence(fields.get("qubits") or qubits, "qubits")) - len(qubits)
        context = Context(frame.symbols, self._builder.spend, cirq_gates.build)
        self._emit(cirq_gates.pauli_phasor(letters + "I" * idle, phase, fields, context), qubits, frame)

    def _controlled(self, fields: Node, frame: _Frame) -> None:
        """Read a controlled operation separately, and control each of its gates."""
        builder = self._builder
        outer, gates_only, exact = builder.block, self._gates_only, self._exact
        builder.block, self._gates_only, self._exact = Block(), True, True
        try:
            self._operation(fields.get("sub_operation"), replace(frame, guard=TRUE))
            steps, known = builder.block.steps, self._exact
        finally:
            builder.block, self._gates_only, self._exact = outer, gates_only, exact
        controls = sequence(fields.get("controls"), "controls")
        own = {place: k for k, place in enumerate(dict.fromkeys(place for step in steps for place in step.qubits))}
        inner: list[Step] = []
        for step in steps:
            if not isinstance(step.operation, Gate) or step.guard != TRUE:
                raise unsupported("only gates can be controlled")
            inner.append((step.operation, tuple(own[place] for place in step.qubits)))
        nested = max((getattr(gate, "num_ctrl_qubits", 0) for gate, _ in inner), default=0)
        context = Context(frame.symbols, builder.spend, cirq_gates.build)
        parts = controlled(Parts(inner, len(own), known, nested), fields.get("control_values"), len(controls), context)
        places = (*self._at(controls, len(controls), frame), *own)
        if len(set(places)) != len(places):
            raise wrong("an operation is controlled by a qubit that it acts on")
        for gate, targets in parts.steps:
            if targets or gates_only:
                builder.append(frame.guard, gate, [places[place] for place in targets])

    # ---- non-unitary operations

    def _no_inverse(self, what: str, frame: _Frame) -> None:
        if frame.inverted:
            raise wrong(f"{what} cannot be inverted, as a negative number of repetitions asks for")
        if self._gates_only:
            raise unsupported(f"{what} cannot be controlled")

    def _reset(self, places: tuple[int, ...], frame: _Frame) -> None:
        self._no_inverse("a reset", frame)
        for place in places:
            self._builder.append(frame.guard, Reset(), (place,))

    def _channel(self, channel: Channel, highest_first: bool, qubits: list[object], frame: _Frame) -> None:
        self._no_inverse("noise", frame)
        self._builder.spend(len(channel.kraus))
        places = self._at(qubits, channel.num_qubits, frame)
        self._builder.append(frame.guard, channel, places[::-1] if highest_first else places)

    def _preparation(self, fields: Node, qubits: list[object], frame: _Frame) -> None:
        state = [complex_number(each, "an amplitude") for each in sequence(fields.get("target_state"), "target_state")]
        size = len(state).bit_length() - 1
        if not 0 < size <= cirq_gates.MAX_MATRIX_QUBITS or len(state) != 1 << size:
            raise wrong(f"a state has {len(state)} amplitudes, not 2 to the power of 1 to 10")
        length = sum(abs(each) ** 2 for each in state) ** 0.5
        if not 1e-6 < length < 1e6:
            raise wrong("a state has amplitudes that cannot be normalized")
        places = self._at(qubits, size, frame)
        self._reset(places, frame)
        self._builder.append(frame.guard, StatePreparation([each / length for each in state]), places[::-1])

    def _measurement(self, fields: Node, qubits: list[object], frame: _Frame) -> None:
        check_levels(fields)
        places = self._at(qubits, count(fields, "num_qubits") if "num_qubits" in fields else len(qubits), frame)
        inverted = sequence(fields.get("invert_mask") or [], "invert_mask")
        if len(inverted) > len(places) or any(each not in (0, 1) for each in inverted):
            raise wrong("an invert_mask is a list of at most as many Booleans as there are qubits")
        errors = noise_channels.confusions(fields.get("confusion_map") or [], len(places))
        flips = (*inverted, *[False] * (len(places) - len(inverted)))
        if any(flips[index] and each.prob_1_given_0 != each.prob_0_given_1 for index, each in errors.items()):
            # cirq.Simulator inverts first if all measurements are terminal, else it confuses first.
            raise unsupported(
                "a bit with both an invert_mask and a confusion_map that is not symmetric: Cirq has no fixed order of "
                "the two; flip the bit by a gate"
            )
        values = self._measure(places, frame, errors)
        record = tuple(negation(each) if flip else each for each, flip in zip(values, flips, strict=True))
        self._record(fields, record, frame)

    def _pauli_measurement(self, fields: Node, qubits: list[object], frame: _Frame) -> None:
        letters, phase = cirq_gates.pauli_letters(fields.get("observable"))
        negative = sum(float(gate.params[0]) for gate, _ in phase)
        if "I" in letters or not letters or abs(abs(negative) - 1.5707963267948966) < 1.5:
            raise wrong("a PauliMeasurementGate measures X, Y or Z on each qubit, with the coefficient 1 or -1")
        places = self._at(qubits, len(letters), frame)
        change, target = pauli_strings.to_parity(letters)
        for gate, own in change:
            self._builder.append(frame.guard, gate, [places[place] for place in own])
        (value,) = self._measure((places[target],), frame)
        for gate, own in gate_modifiers.inverse(change):
            self._builder.append(frame.guard, gate, [places[place] for place in own])
        self._record(fields, (negation(value) if phase else value,), frame)

    def _record(self, fields: Node, record: Record, frame: _Frame) -> None:
        key = self._records.add(frame.keys, text(fields.get("key", ""), "a measurement key"), record)
        self._loops.push(key)

    def _measure(
        self, places: tuple[int, ...], frame: _Frame, errors: Mapping[int, ReadoutError] = _NO_ERRORS
    ) -> list[Formula]:
        """Measure each qubit into a new IR bit, with the readout errors of some."""
        self._no_inverse("a measurement", frame)
        if frame.conditional:
            raise wrong("Cirq has no measurement under a classical condition")
        clbits = self._builder.add_clbits(len(places))
        for place, clbit in zip(places, clbits, strict=True):
            self._builder.append(frame.guard, Measure(), (place,), (clbit,))
        for index, error in errors.items():
            self._builder.append(frame.guard, error, (), (clbits[index],))
        return [bit(clbit) for clbit in clbits]

    def _conditional(self, fields: Node, frame: _Frame) -> None:
        self._no_inverse("a classical condition", frame)
        conditions = Conditions(self._records, frame.keys, frame.within, self._tick)
        formulas = [conditions.formula(each) for each in sequence(fields.get("conditions"), "conditions")]
        guard = conjunction((frame.guard, *formulas))
        block = self._builder.block
        if guard == FALSE:
            self._builder.block = Block()
        try:
            self._operation(fields.get("sub_operation"), replace(frame, guard=guard, conditional=True))
        finally:
            self._builder.block = block

    # ---- nested circuits

    def _subcircuit(self, fields: Node, frame: _Frame) -> None:
        circuit = mapping(fields.get("circuit"), "the circuit of a CircuitOperation")
        if kind_of(circuit, "the circuit of a CircuitOperation") not in CIRCUITS:
            raise wrong("a CircuitOperation contains an object that is not a circuit")
        repetitions = self._repetitions(fields.get("repetitions", 1), frame)
        self._builder.spend(10 + 4 * abs(repetitions))  # the cost of empty repetitions
        moved, names = subcircuits.qubit_map(fields), subcircuits.key_map(fields)
        path = texts(fields.get("parent_path") or [], "parent_path")
        frame = replace(frame, symbols=frame.symbols.inner(subcircuits.parameters(fields)), within=True)
        if moved:
            frame = replace(frame, moved=(moved, *frame.moved))
        if repetitions < 0:
            frame = replace(frame, inverted=not frame.inverted)
        until, ids = fields.get("repeat_until"), subcircuits.repetition_ids(fields, abs(repetitions))
        if until is not None:
            if repetitions != 1 or fields.get("use_repetition_ids", True) is not False:
                raise wrong("a CircuitOperation with repeat_until has no repetitions or repetition_ids")
            self._until(circuit, until, frame, path, names)
        for each in ids if until is None else ():
            keys = frame.keys.inner((*path, *each), names)
            self.circuit(circuit, replace(frame, keys=keys))
            frame.keys.pending.update(keys.measured)

    def _repetitions(self, node: object, frame: _Frame) -> int:
        value = frame.symbols.known(node, "repetitions")
        if abs(value) > MAX_OPERATIONS:
            raise too_large(f"a circuit is repeated more than {MAX_OPERATIONS} times")
        if abs(value - round(value)) > 1e-9 * max(1.0, abs(value)):
            raise wrong("repetitions is not a whole number")
        return round(value)

    def _until(self, circuit: Node, until: object, frame: _Frame, path: tuple[str, ...], names: dict[str, str]) -> None:
        """Add a circuit that repeats until a condition holds, at least once: an IR loop."""
        self._no_inverse("a loop", frame)
        if frame.conditional:
            raise wrong("Cirq has no loop under a classical condition")
        keys = Keys()

        def iteration() -> Formula:
            nonlocal keys
            keys = frame.keys.inner(path, names)
            self.circuit(circuit, replace(frame, keys=keys, looping=True))
            return Conditions(self._records, keys, True, self._tick).formula(until)

        self._loops.repeat(iteration, 0 if frame.looping else frame.records)
        frame.keys.pending.update(keys.measured)


def _pauli_string(fields: Node, pairs: list[list[object]]) -> tuple[str, list[Step]]:
    """Return the letters and the phase of a PauliString."""
    if any(len(pair) != 2 for pair in pairs):
        raise wrong("a Pauli string contains an entry that is not a qubit and a Pauli")
    letters = "".join(cirq_gates.pauli_letter(pair[1]) for pair in pairs)
    return letters, cirq_gates.unit_phase(fields.get("coefficient", 1), "the coefficient of a Pauli string")


def _placed(error: ProgramError, moment: int, operation: int) -> ProgramError:
    """Return the error with its location, if it has none yet."""
    if error.line or error.reason == "MISSING_INPUT" or error.message.startswith("moment "):
        return error
    return ProgramError(error.reason, f"moment {moment}, operation {operation}: {error.message}")
