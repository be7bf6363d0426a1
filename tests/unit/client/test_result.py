# SPDX-License-Identifier: Apache-2.0
"""Results show measured outcomes in order, as text and in notebooks."""

from __future__ import annotations

import hashlib

from qonduit.v1 import result_pb2
from qonduit_client.handle import by_program
from qonduit_client.result import Result
from tests.unit.client.peer import counted


def test_keys_are_in_the_order_of_their_numbers() -> None:
    result = Result(counted({"0x3": 1, "0x0": 2, "0x2": 5}))
    assert list(result.counts) == ["0x0", "0x2", "0x3"]
    assert result.bitstrings == {"00": 2, "10": 5, "11": 1}
    assert sum(result.probabilities.values()) == 1


def test_several_registers() -> None:
    message = counted({"0x1 0x2": 4})
    del message.registers[:]
    message.registers.extend([result_pb2.Register(name="b", size=1), result_pb2.Register(name="a", size=3)])
    assert Result(message).bitstrings == {"1 010": 4}


def test_shown() -> None:
    result = Result(counted({hex(k): k + 1 for k in range(6)}))
    assert repr(result) == "<Result 11 of job 7: 21 shots, 6 outcomes {0x5: 6, 0x4: 5, 0x3: 4, 0x2: 3, ...}>"
    html = result._repr_html_()
    assert html.count("<tr>") == 7
    assert "c[2]" in html


def test_names_are_escaped_in_html() -> None:
    message = counted({"0x0": 1})
    message.registers[0].name = "<script>"
    assert "<script>" not in Result(message)._repr_html_()


def test_meta_data_and_nothing_measured() -> None:
    message = result_pb2.Result(id=1)
    message.meta_data.update({"sdk": "qiskit", "seed": 7})
    result = Result(message)
    assert result.meta_data == {"sdk": "qiskit", "seed": 7}
    assert result.counts == {}
    assert "0 outcomes" in repr(result)
    assert result._repr_html_()


def test_a_compiled_circuit_belongs_to_the_result_of_its_program() -> None:
    text = "OPENQASM 3.0;\nqubit[2] q;\n"
    data = text.encode()
    counts = result_pb2.Result(program_id=1, counts_and_probabilities=result_pb2.CountsAndProbabilities())
    short = result_pb2.Result(program_id=1, compiled_circuit=result_pb2.CompiledCircuit(text=text))
    reference = result_pb2.BufferReference(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    large = result_pb2.Result(program_id=1, compiled_circuit=result_pb2.CompiledCircuit(), buffer=reference)
    for each in (short, large):
        (found,) = by_program([Result(counts), Result(each, lambda reference, offset: iter([data[offset:]]))])
        assert found.compiled_circuit == text
    assert Result(counts).compiled_circuit is None
