# SPDX-License-Identifier: Apache-2.0
"""QPY: reading a file has no other effects."""

from __future__ import annotations

import io
import re
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy
from qiskit.circuit import (
    AncillaRegister,
    AnnotatedOperation,
    Clbit,
    ControlModifier,
    Gate,
    Parameter,
    ParameterVector,
    PowerModifier,
)
from qiskit.circuit import library as qk
from qiskit.circuit.classical import expr, types
from qiskit.quantum_info import SparsePauliOp

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.flow import MAX_SECONDS
from qonduit_server.languages.qiskit import qpy_reader
from qonduit_server.languages.qiskit.qpy_reader import read
from qonduit_server.languages.signatures import NO_INPUTS, Inputs
from tests.unit.ir.reference_simulator import distribution
from tests.unit.languages.qiskit_samples import VERSIONS, dumped, made


def refused(data: bytes, reason: str, inputs: Inputs = NO_INPUTS) -> ProgramError:
    began = time.thread_time()
    with pytest.raises(ProgramError) as caught:
        read(data, inputs)
    assert time.thread_time() - began < 2.0  # far more than a refusal takes, far less than expanding the program
    assert caught.value.reason == reason
    return caught.value


def test_old_versions_are_refused_unread() -> None:
    data = bytearray(dumped(QuantumCircuit(1), 13))
    for version in (1, 9, 12, 19, 255):
        data[6] = version
        error = refused(bytes(data), "UNSUPPORTED_CONSTRUCT")
        assert f"version={13 if version < 13 else 18}" in error.message


@pytest.mark.parametrize(
    "build",
    [
        lambda circuit: circuit.append(Gate("secret", 1, []), [0]),
        lambda circuit: circuit.append(qk.HalfAdderGate(1), [0, 1, 2]),
    ],
)
def test_undefined_operations_are_named(build: Callable[[QuantumCircuit], None]) -> None:
    circuit = QuantumCircuit(3)
    build(circuit)
    error = refused(dumped(circuit), "UNSUPPORTED_CONSTRUCT")
    assert "secret" in error.message or "HalfAdderGate" in error.message


@pytest.mark.parametrize("version", range(13, 19))
def test_ancilla_registers_are_registers_of_qubits(version: int) -> None:
    circuit = QuantumCircuit(QuantumRegister(1, "q"), AncillaRegister(2, "helpers"), ClassicalRegister(3, "c"))
    circuit.ry(0.7, 0)
    circuit.cx(0, 2)
    circuit.measure([0, 1, 2], [0, 1, 2])
    found = read(dumped(circuit, version))
    assert [(each.name, len(each.bits)) for each in found.registers] == [("c", 3)]
    assert distribution(found) == pytest.approx({"0x0": np.cos(0.35) ** 2, "0x5": np.sin(0.35) ** 2})


def test_simulator_instructions_are_named() -> None:
    from qiskit_aer.library import SaveStatevector

    circuit = QuantumCircuit(1)
    circuit.append(SaveStatevector(1), [0])
    assert "save_statevector" in refused(dumped(circuit), "UNSUPPORTED_CONSTRUCT").message


def test_one_circuit_a_program() -> None:
    file = io.BytesIO()
    qpy.dump([QuantumCircuit(1), QuantumCircuit(1)], file)
    refused(file.getvalue(), "UNSUPPORTED_CONSTRUCT")


def test_trailing_bytes_are_refused() -> None:
    for version in VERSIONS:
        assert "left over" in refused(dumped(QuantumCircuit(1), version) + b"\0", "SYNTAX_ERROR").message


@pytest.mark.parametrize("data", [b"QISKIT", b"QISKIT\x0d", b"OPENQASM 3.0;", b"PK\x03\x04", b"\0" * 100])
def test_invalid_files(data: bytes) -> None:
    with pytest.raises(ProgramError):
        read(data)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield files of a few hundred bytes that demand gigabytes or hours."""
    plain = dumped(QuantumCircuit(2, 2, name="abc"), 13)
    at = plain.index(b"abc") - struct.calcsize("!HcHIIQIQI")
    for name, field, size in (("qubits", 5, 4), ("clbits", 9, 4), ("registers", 21, 4), ("instructions", 25, 8)):
        yield name, plain[: at + field] + b"\x7f" * size + plain[at + field + size :]
    yield "metadata", plain[: at + 13] + b"\x7f" * 8 + plain[at + 21 :]
    yield "circuits", plain[:10] + b"\x00" * 4 + b"\x7f" * 4 + plain[18:]

    circuit = QuantumCircuit(1)
    circuit.rx(ParameterVector("vector", 3)[1], 0)
    data = dumped(circuit, 13)
    place = data.index(b"vector") - 32
    yield "vector", data[:place] + struct.pack("!Q", 1 << 40) + data[place + 8 :]
    data = dumped(circuit, 18)
    place = data.index(b"vector") - 24
    yield "vector-18", data[:place] + struct.pack("!Q", 1 << 40) + data[place + 8 :]

    circuit = QuantumCircuit(2)
    circuit.unitary(np.eye(4), [0, 1])
    data = dumped(circuit)
    assert b"'shape': (4, 4" in data
    yield "array", data.replace(b"'shape': (4, 4", b"'shape': (9, 9")
    yield "array-axes", data.replace(b"'shape': (4, 4", b"'shape': (4*4")
    yield "objects", data.replace(b"'<c16'", b"'|O'  ")

    circuit = QuantumCircuit(1)
    body = QuantumCircuit(1)
    for k in range(40):
        outer = QuantumCircuit(1, name=f"g{k}")
        outer.append(body.to_gate() if k else qk.XGate(), [0])
        body = outer
    circuit.append(body.to_gate(), [0])
    yield "nesting", dumped(circuit, 13)

    circuit = QuantumCircuit(1)
    circuit.append(AnnotatedOperation(qk.TGate(), [PowerModifier(1e15)]), [0])
    yield "power", dumped(circuit)
    circuit = QuantumCircuit(4)
    circuit.append(AnnotatedOperation(qk.TGate(), [ControlModifier(3, 5)]), range(4))
    data = dumped(circuit)
    assert b"c\0\0\0\x03\0\0\0\x05" in data
    yield "controls", data.replace(b"c\0\0\0\x03\0\0\0\x05", b"c\xff\0\0\0\0\0\0\x05")
    circuit = QuantumCircuit(1)
    with circuit.for_loop(range(10**12)):
        circuit.x(0)
    yield "loop", dumped(circuit)
    circuit = QuantumCircuit(1)
    with circuit.for_loop(range(30_000)), circuit.for_loop(range(30_000)):
        circuit.x(0)
    yield "loops", dumped(circuit)
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.x(0)
    yield "endless", dumped(circuit)
    circuit = QuantumCircuit(1)
    circuit.add_var("wide", expr.lift(0, types.Uint(5000)))
    yield "integer", dumped(circuit)


@pytest.mark.parametrize("data", [each[1] for each in bombs()], ids=[each[0] for each in bombs()])
def test_bombs_are_refused(data: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(ProgramError):
        read(data)
    assert time.thread_time() - began < 10.0  # far more than a refusal takes, far less than expanding the program


def test_repeated_evolutions_are_counted() -> None:
    from qiskit.synthesis import LieTrotter

    circuit = QuantumCircuit(1)
    circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["X", "Z"]), synthesis=LieTrotter(reps=10**9)), [0])
    refused(dumped(circuit), "TOO_LARGE")


def test_classes_are_not_looked_up_by_arbitrary_names() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    for name in (b"QFT", b"Measure"[:5], b"Store"[:5]):
        data = dumped(circuit, 13).replace(b"HGate", name.ljust(5, b"_")[:5])
        with pytest.raises(ProgramError):
            read(data)
    circuit = QuantumCircuit(1)
    circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["X"]), time=0.1), [0])
    data = dumped(circuit)
    assert b"LieTrotter" in data
    refused(data.replace(b"LieTrotter", b"evolution1"), "UNSUPPORTED_CONSTRUCT")


def samples() -> list[bytes]:
    """Return files that cover all features."""
    rich = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(2, "c"), [Clbit()])
    a, v = Parameter("a"), ParameterVector("v", 3)
    rich.rx(2 * a + v[1], 0)
    rich.measure(0, 0)
    number = rich.add_var("n", expr.lift(3, types.Uint(4)))
    with rich.for_loop(range(2)) as k:
        rich.ry(k * 0.5, 0)
        with rich.if_test((rich.cregs[0], 1)) as otherwise:
            rich.x(1)
            rich.break_loop()
        with otherwise:
            rich.store(number, expr.bit_xor(number, 1))
    with rich.switch(rich.cregs[0]) as case:
        with case(0):
            rich.x(2)
        with case(case.DEFAULT):
            rich.z(2)
    with rich.while_loop(expr.logic_not(rich.clbits[1])):
        rich.h(0)
        rich.measure(0, 1)
    gates = QuantumCircuit(3, 1, name="gates")
    for _, gate, size in made():
        if size <= 3:
            gates.append(gate, range(size))
    gates.initialize([0.6, 0.8], 0)
    gates.delay(10, 1)
    return [dumped(circuit, version) for circuit in (rich, gates) for version in VERSIONS]


SAMPLES = samples()
INPUTS: Inputs = {"a": 0.5, "v": [0.1, 0.2, 0.3]}
CHANGE = st.tuples(
    st.integers(0, 1 << 30), st.sampled_from(["flip", "set", "cut", "copy", "insert"]), st.integers(0, 255)
)


def changed(data: bytes, changes: list[tuple[int, str, int]]) -> bytes:
    """Return a file with some bytes changed."""
    bytes_ = bytearray(data)
    for place, kind, value in changes:
        at = place % max(1, len(bytes_))
        match kind:
            case "flip":
                bytes_[at : at + 1] = bytes([bytes_[at] ^ 1 << value % 8]) if bytes_ else b""
            case "set":
                bytes_[at : at + 1 + value % 8] = bytes([value]) * (1 + value % 8)
            case "cut":
                del bytes_[at : at + 1 + value]
            case "copy":
                bytes_[at:at] = bytes_[at : at + value]
            case "insert":
                bytes_[at:at] = bytes([value])
    return bytes(bytes_)


def attempt(data: bytes) -> None:
    began = time.thread_time()
    try:
        circuit = read(data, INPUTS)
    except ProgramError:
        pass
    else:
        circuit.key(0)
    # A changed bound makes a loop as long as any program's limit.
    assert time.thread_time() - began < MAX_SECONDS + 5


@pytest.mark.parametrize(
    ("gate", "name"),
    [
        (qk.CRXGate(0.3), "Measure"),  # without a bit to measure into
        (qk.PhaseGate(0.3), "ForLoopOp"),  # Qiskit's Rust half panics
    ],
)
def test_an_invalid_operation_is_an_error_of_the_file(gate: Gate, name: str) -> None:
    circuit = QuantumCircuit(4, 4)
    circuit.append(gate, range(gate.num_qubits))
    for version in VERSIONS:
        with pytest.raises(ProgramError):
            read(dumped(circuit, version).replace(type(gate).__name__.encode(), name.encode()))


@pytest.mark.parametrize("place", ["load", "use"])
def test_errors_of_qiskits_native_code_are_errors_of_the_file(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # No known file does so in all versions of Qiskit.
    def fault(*_: object) -> None:
        raise SystemError("returned NULL without setting an exception")

    monkeypatch.setattr(
        *{"load": (qpy_reader.qpy, "load"), "use": (qpy_reader.circuit_evaluation, "read")}[place], fault
    )
    refused(dumped(QuantumCircuit(1), VERSIONS[0]), "SYNTAX_ERROR")


def test_samples_are_read() -> None:
    for data in SAMPLES:
        read(data, INPUTS)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(SAMPLES), st.lists(CHANGE, min_size=1, max_size=3))
def test_whatever_is_sent_is_read_or_refused(data: bytes, changes: list[tuple[int, str, int]]) -> None:
    attempt(changed(data, changes))


def flips(seed: int, number: int) -> None:
    """Read many changed files in a process with little memory; print the outcomes."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    random = np.random.default_rng(seed)
    for _ in range(number):
        data = SAMPLES[random.integers(len(SAMPLES))]
        kinds = [str(random.choice(["flip", "set", "set"])) for _ in range(random.integers(1, 3))]
        attempt(changed(data, [(int(random.integers(1 << 30)), kind, int(random.integers(256))) for kind in kinds]))
    # Not ru_maxrss: it includes the memory of the process that started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print("all were read or refused, in", int(peak[1]) // 1024, "MB")


def test_no_file_ends_the_process_or_fills_memory() -> None:
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {sys.path!r}; from tests.unit.languages import test_qpy; test_qpy.flips(5, 400)",
    ]
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-2]) < 2000
