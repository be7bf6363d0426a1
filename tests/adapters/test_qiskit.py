# SPDX-License-Identifier: Apache-2.0
"""Qiskit's backend, provider and jobs on a real server: results as Aer's, errors as Qiskit's users expect them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy, transpile
from qiskit.circuit import Clbit, Gate, Parameter, ParameterVector, Qubit
from qiskit.circuit.library import HalfAdderGate, Isometry, PauliEvolutionGate, PermutationGate, UCGate, UnitaryGate
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2, JobError, JobStatus, JobTimeoutError, JobV1, QiskitBackendNotFoundError
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector, random_unitary
from qiskit.result import Result
from qiskit.synthesis import SuzukiTrotter
from qiskit_aer import AerSimulator

from qonduit_client import Client
from qonduit_client.errors import JobCancelled, JobFailed
from qonduit_client.qiskit import QonduitBackend, QonduitProvider
from qonduit_client.qiskit.circuit_preparation import program_for

DEVICES = ("AWS/local_simulator", "GOOGLE/cirq_simulator", "IBM/aer_simulator")


@pytest.fixture(scope="module")
def backend(client: Client) -> QonduitBackend:
    return QonduitBackend(client=client)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="bell", metadata={"kept": [1]})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def registers() -> QuantumCircuit:
    """Measures 1 into bit 1 of the first of two registers."""
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "a b"), ClassicalRegister(3, "z"))
    circuit.x(0)
    circuit.measure([0, 1], [1, 4])
    return circuit


def shared() -> QuantumCircuit:
    """Two registers have a bit in common."""
    bits = [Clbit(), Clbit()]
    circuit = QuantumCircuit(
        [Qubit()], bits, ClassicalRegister(bits=bits, name="u"), ClassicalRegister(bits=bits[1:], name="v")
    )
    circuit.x(0)
    circuit.measure(0, 1)
    return circuit


def loose() -> QuantumCircuit:
    """Bits in no register, around one that is in a register."""
    inside = Clbit()
    circuit = QuantumCircuit([Qubit()], [Clbit(), inside, Clbit()], ClassicalRegister(bits=[inside], name="c"))
    circuit.x(0)
    circuit.measure(0, 2)
    return circuit


def test_a_provider_has_the_devices_as_backends(client: Client, server: Any) -> None:
    with QonduitProvider(server.target) as provider:
        names = [each.name for each in provider.backends()]
        assert names == sorted(names)
        assert set(names) > set(DEVICES)
    provider = QonduitProvider(client)
    (found,) = provider.backends("cirq_simulator", simulator=True, operational=True, min_num_qubits=2, is_local=True)
    assert isinstance(found, BackendV2)
    assert (found.name, found.provider) == ("GOOGLE/cirq_simulator", provider)
    assert provider.backends(filters=lambda each: each.name.startswith("AWS"))[0].name == "AWS/braket_dm"
    assert provider.backends(min_num_qubits=10**6) == []
    assert provider.get_backend("aer_simulator").name == provider.get_backend().name == "IBM/aer_simulator"
    with pytest.raises(QiskitBackendNotFoundError, match=r"no backend 'IBM/eagle'.*AWS/local_simulator"):
        provider.get_backend("IBM/eagle")
    with pytest.raises(QiskitError, match=r"unknown property 'colour'.*num_qubits"):
        provider.backends(colour="blue")


def test_the_least_busy_backend_is_the_available_one_with_the_shortest_queue(client: Client) -> None:
    provider = QonduitProvider(client)
    found = provider.least_busy(min_num_qubits=2, simulator=True)
    fitting = provider.backends(min_num_qubits=2, simulator=True, operational=True)
    assert found.name in {each.name for each in fitting}
    assert found.device.device.queue_depth == min(each.device.device.queue_depth for each in fitting)
    assert provider.least_busy(name="cirq_simulator").name == "GOOGLE/cirq_simulator"
    with pytest.raises(QiskitBackendNotFoundError, match="no available backend"):
        provider.least_busy(min_num_qubits=10**6)


def test_a_server_that_is_not_there_is_qiskits_error() -> None:
    with Client("127.0.0.1:1", connect_timeout=0.1) as nobody, pytest.raises(QiskitError):
        QonduitProvider(nobody).backends()


@pytest.mark.parametrize("name", DEVICES)
def test_circuits_that_are_transpiled_for_the_target_run(client: Client, name: str) -> None:
    backend = QonduitBackend(name, client)
    assert {"cx", "measure", "reset", "delay", "if_else", "while_loop"} <= set(backend.operation_names)
    assert backend.num_qubits == backend.device.device.num_qubits
    circuit = QuantumCircuit(3, 3)
    circuit.append(UnitaryGate(random_unitary(4, seed=5)), [0, 1])
    circuit.initialize([0, 1], [2])
    circuit.mcx([0, 2], 1)
    expected = Statevector(circuit).probabilities()
    circuit.measure(range(3), range(3))
    levels = [transpile(circuit, backend, optimization_level=level, seed_transpiler=1) for level in range(4)]
    result = backend.run([circuit, *levels], shots=4000, seed_simulator=11).result()
    for place in range(5):
        seen = np.array([result.get_counts(place).get(f"{value:03b}", 0) for value in range(8)]) / 4000
        assert np.abs(seen - expected).max() < 0.05


@pytest.mark.parametrize("build", [bell, registers, shared, loose])
def test_results_have_the_form_of_aers(backend: QonduitBackend, build: Any) -> None:
    circuit = build()
    ours = backend.run(circuit, shots=50, memory=True, seed_simulator=3).result()
    theirs = AerSimulator().run(circuit, shots=50, memory=True, seed_simulator=3).result()
    assert isinstance(ours, Result)
    assert ours.success
    mine, local = ours.results[0], theirs.results[0]
    assert mine.header == local.header
    assert (mine.shots, mine.meas_level, mine.status) == (local.shots, local.meas_level, local.status)
    assert type(mine.data.counts) is type(local.data.counts)
    assert type(mine.data.memory) is list
    assert {int(key, 16) for key in mine.data.counts} == {int(key, 16) for key in local.data.counts}
    assert set(ours.get_counts()) == set(theirs.get_counts())
    assert set(ours.get_memory()) == set(theirs.get_memory())
    assert sorted(mine.data.memory) == sorted(key for key, count in mine.data.counts.items() for _ in range(count))
    assert Result.from_dict(ours.to_dict()).get_counts() == ours.get_counts()


def test_circuits_without_bits_have_no_counts_and_unmeasured_bits_are_zero(backend: QonduitBackend) -> None:
    bare, unmeasured = QuantumCircuit(1), QuantumCircuit(1, 2)
    for each in (bare, unmeasured):
        each.x(0)
    result = backend.run([bare, unmeasured], shots=5, memory=True).result()
    with pytest.raises(QiskitError, match="No counts"):
        result.get_counts(0)
    assert result.get_counts(1) == {"00": 5}
    assert result.get_memory(1) == ["00"] * 5


def test_a_seed_holds_for_all_circuits_and_each_has_randomness_of_its_own(backend: QonduitBackend) -> None:
    circuits = [bell(), bell(), bell()]
    first, again, other = (
        backend.run(circuits, shots=1000, memory=True, seed_simulator=seed).result() for seed in (7, np.int64(7), 8)
    )
    memories = [first.get_memory(place) for place in range(3)]
    assert memories == [again.get_memory(place) for place in range(3)]
    assert len({tuple(each) for each in memories}) == 3
    assert memories[0] != other.get_memory(0)
    # Any part of the shots is a fair sample.
    assert 350 < memories[0][:800].count("00") < 450


def test_any_number_of_circuits_is_one_job(client: Client, backend: QonduitBackend) -> None:
    flip = QuantumCircuit(1, 1)
    flip.x(0)
    flip.measure(0, 0)
    stay = QuantumCircuit(1, 1)
    stay.measure(0, 0)
    number = client.server_limits().max_programs + 1
    job = backend.run([flip if place % 2 else stay for place in range(number)], shots=2)
    assert isinstance(job, JobV1)
    counts = job.result().get_counts()
    assert counts == [{str(place % 2): 2} for place in range(number)]
    assert len(job.ids) == 2
    assert job.job_id() == f"{job.ids[0]},{job.ids[1]}"
    assert job.status() == JobStatus.DONE
    with pytest.raises(JobError, match="submitted already"):
        job.submit()
    assert backend.run([]).result().results == []


def test_parameters_are_bound_as_aer_binds_them(backend: QonduitBackend) -> None:
    theta, vector = Parameter("θ"), ParameterVector("v", 2)
    circuit = QuantumCircuit(2, 2, name="turn")
    circuit.rx(theta * 2, 0)
    circuit.ry(vector[0] + vector[1], 1)
    circuit.measure([0, 1], [0, 1])
    binds = {theta: [0, np.pi / 2], vector[0]: [np.pi / 2, 1], vector[1]: np.array([np.pi / 2, -1])}
    result = backend.run([circuit, bell()], parameter_binds=[binds, {}], shots=9).result()
    assert result.get_counts()[:2] == [{"10": 9}, {"01": 9}]
    assert len(result.results) == 3
    with pytest.raises(QiskitError, match=r"'turn' has parameters without values: v\[0\], v\[1\], θ"):
        backend.run(circuit)
    with pytest.raises(QiskitError, match="different lengths"):
        backend.run(circuit, parameter_binds=[{**binds, theta: [0]}])
    with pytest.raises(QiskitError, match="2 mappings for 1 circuits"):
        backend.run(circuit, parameter_binds=[binds, binds])


def test_options_are_those_of_the_run_then_those_of_the_backend(client: Client) -> None:
    backend = QonduitBackend(client=client, shots=30, memory=True)
    assert len(backend.run(bell()).result().get_memory()) == 30
    backend.set_options(shots=20)
    assert backend.run(bell()).result().results[0].shots == 20
    assert backend.run(bell(), shots=np.int64(10), seed_simulator=None).result().results[0].shots == 10
    assert backend.run(bell(), shots=1e1).result().results[0].shots == 10
    with pytest.raises(AttributeError):
        QonduitBackend(client=client, colour="blue")
    with pytest.warns(UserWarning, match="ignores the options fusion_enable"):
        backend.run(bell(), fusion_enable=True).cancel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "shots must be"),
        ({"shots": -1}, "shots must be"),
        ({"shots": 1.5}, "shots must be"),
        ({"shots": 10**9}, "from 1 to 10000000"),
        ({"shots": True}, "shots must be"),
        ({"seed_simulator": -1}, "seed_simulator must be"),
        ({"meas_level": 1}, "meas_level must be 2"),
    ],
)
def test_options_that_cannot_be_had_are_refused(backend: QonduitBackend, options: dict[str, Any], message: str) -> None:
    with pytest.raises(QiskitError, match=message):
        backend.run(bell(), **options)


def test_what_is_no_circuit_is_refused(backend: QonduitBackend) -> None:
    for wrong in ("OPENQASM 2.0;", [bell(), 3], 3, {"a": bell()}):
        with pytest.raises(TypeError, match="QuantumCircuit"):
            backend.run(wrong)  # type: ignore[arg-type]
    saves = bell()
    saves.save_statevector()
    with pytest.raises(QiskitError, match="'save_statevector', an instruction of Aer's own"):
        backend.run(saves)


def test_library_gates_that_do_not_travel_are_written_out(backend: QonduitBackend) -> None:
    matrix = random_unitary(4, seed=3).data
    one, two = random_unitary(2, seed=1).data, random_unitary(2, seed=2).data
    inner = QuantumCircuit(3, name="inner")
    inner.append(HalfAdderGate(1), [0, 1, 2])
    gates = [Isometry(matrix[:, :2], 0, 0), UCGate([one, two]), PermutationGate([2, 0, 1]), inner.to_gate()]
    circuits, expected = [], []
    for gate in gates:
        circuit = QuantumCircuit(gate.num_qubits)
        circuit.h(0)
        circuit.ry(0.7, 1)
        circuit.append(gate, circuit.qubits)
        expected.append(Statevector(circuit.decompose(reps=3)).probabilities())
        circuit.measure_all()
        circuits.append(circuit)
    result = backend.run(circuits, shots=4000, seed_simulator=5).result()
    for place, probabilities in enumerate(expected):
        counts = result.get_counts(place)
        seen = np.array(
            [counts.get(f"{value:0{circuits[place].num_qubits}b}", 0) for value in range(len(probabilities))]
        )
        assert np.abs(seen / 4000 - probabilities).max() < 0.05, gates[place].name


def test_qubits_that_nothing_acts_on_do_not_count(backend: QonduitBackend) -> None:
    wide = QuantumCircuit(127, 1)
    wide.x(100)
    wide.delay(3, 5)
    wide.barrier()
    wide.measure(100, 0)
    result = backend.run(wide, shots=4).result()
    assert result.get_counts() == {"1": 4}
    assert result.results[0].header["n_qubits"] == 127


def test_a_failed_job_says_why(backend: QonduitBackend) -> None:
    opaque = QuantumCircuit(1, 1)
    opaque.append(Gate("mystery", 1, []), [0])
    opaque.measure(0, 0)
    job = backend.run(opaque)
    with pytest.raises(JobError, match=r"UNSUPPORTED_CONSTRUCT.*mystery") as raised:
        job.result(timeout=60)
    assert isinstance(raised.value.__cause__, JobFailed)
    assert job.status() == JobStatus.ERROR
    assert "mystery" in (job.error_message() or "")
    assert not job.cancel()


def test_a_job_is_waited_for_and_cancelled(backend: QonduitBackend) -> None:
    slow = QuantumCircuit(24, 24)
    for _ in range(200):
        slow.h(range(24))
        slow.cx(range(23), range(1, 24))
    slow.measure(range(24), range(24))
    job = backend.run(slow, shots=1)
    with pytest.raises(JobTimeoutError) as raised:
        job.result(timeout=0.01)
    assert isinstance(raised.value, TimeoutError)
    told: list[JobStatus] = []
    with pytest.raises(JobTimeoutError):
        job.wait_for_final_state(timeout=0.05, wait=0.01, callback=lambda _id, status, _job: told.append(status))
    assert set(told) <= {JobStatus.QUEUED, JobStatus.RUNNING}
    assert told
    assert job.error_message() is None
    assert job.cancel()
    job.wait_for_final_state(timeout=60)
    assert job.cancelled()
    assert job.in_final_state()
    with pytest.raises(JobError, match="cancelled") as ended:
        job.result()
    assert isinstance(ended.value.__cause__, JobCancelled)


def test_threads_may_share_a_backend(backend: QonduitBackend) -> None:
    def run(seed: int) -> dict[str, int]:
        return dict(backend.run(bell(), shots=100, seed_simulator=seed).result(timeout=60).get_counts())

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, range(16)))
    assert together == [run(seed) for seed in range(16)]


def test_control_flow_runs_as_it_is(backend: QonduitBackend) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.reset(1)
    with circuit.switch(circuit.cregs[0]) as case, case(1):
        circuit.reset(0)
    with circuit.while_loop((circuit.clbits[1], 0)):
        circuit.measure(1, 1)
    circuit.measure(0, 0)
    assert backend.run(circuit, shots=6).result().get_counts() == {"10": 6}


@pytest.mark.parametrize("synthesis", [None, SuzukiTrotter(order=10)])
def test_evolutions_are_written_out_whatever_their_synthesis(synthesis: Any) -> None:
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZI"]), 0.3, synthesis=synthesis), [0, 1])
    own = QuantumCircuit(1, name="P")
    own.sx(0)
    circuit.append(own.to_gate(), [1])
    # The server reads no Trotter formula of more than order 8.
    program, _ = program_for(circuit, None)
    (sent,) = qpy.load(io.BytesIO(program.quantum_circuit_binary))
    assert not {"PauliEvolution", "P"} & sent.count_ops().keys()
    assert Operator(sent).equiv(Operator(circuit.decompose("PauliEvolution") if synthesis else circuit.decompose()))
