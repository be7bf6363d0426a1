# SPDX-License-Identifier: Apache-2.0
"""Qiskit's primitives on a real server: the package's own, and Qiskit's generic ones on its backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter, ParameterVector
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BasePrimitiveJob,
    BaseSamplerV2,
    StatevectorEstimator,
)
from qiskit.providers import JobError, JobStatus
from qiskit.quantum_info import SparsePauliOp

from qonduit_client import Client
from qonduit_client.qiskit import EstimatorV2, QonduitBackend, SamplerV2


@pytest.fixture(scope="module")
def backend(client: Client) -> QonduitBackend:
    return QonduitBackend(client=client)


def turned() -> QuantumCircuit:
    """Bit i is 1 where parameter i is pi."""
    circuit = QuantumCircuit(2)
    for qubit, angle in enumerate(ParameterVector("a", 2)):
        circuit.rx(angle, qubit)
    circuit.measure_all()
    return circuit


SAMPLERS = [
    lambda backend: SamplerV2(backend, seed=5),
    lambda backend: SamplerV2(backend=backend, options={"default_shots": 1024, "seed_simulator": 5, "run_options": {}}),
    lambda backend: BackendSamplerV2(backend=backend, options={"seed_simulator": 5}),
]


@pytest.mark.parametrize("make", SAMPLERS)
def test_parameters_of_any_shape_are_sampled(backend: QonduitBackend, make: Any) -> None:
    sampler = make(backend)
    assert isinstance(sampler, BaseSamplerV2)
    values = np.array([[[0, 0], [np.pi, 0], [0, np.pi]], [[np.pi, np.pi], [0, 0], [np.pi, 0]]])
    one, two = sampler.run([(turned(), values), (turned(), [np.pi, 0], 20)]).result()
    assert one.data.meas.shape == one.data.shape == (2, 3)
    assert (one.data.meas.num_shots, one.data.meas.num_bits) == (1024, 2)
    wanted = np.array([["00", "01", "10"], ["11", "00", "01"]])
    for at in np.ndindex(2, 3):
        assert one.data.meas.get_counts(at) == {wanted[at]: 1024}
    assert two.data.meas.get_counts() == {"01": 20}
    assert two.metadata == {"shots": 20, "circuit_metadata": {}}


@pytest.mark.parametrize("make", SAMPLERS)
def test_registers_are_told_apart_and_shots_kept_together(backend: QonduitBackend, make: Any) -> None:
    bits = [Clbit() for _ in range(3)]
    circuit = QuantumCircuit(
        QuantumRegister(2, "q"),
        bits,
        ClassicalRegister(bits=bits[1:], name="pair"),
        ClassicalRegister(9, "wide"),
        ClassicalRegister(bits=bits[2:], name="alias"),
        metadata={"a": 1},
    )
    circuit.h(0)
    circuit.measure(0, bits[2])  # before more is done
    circuit.cx(0, 1)
    circuit.measure(1, circuit.cregs[1][8])
    data = make(backend).run([circuit], shots=500).result()[0].data
    assert list(data) == ["pair", "wide", "alias"]
    assert [data[name].num_bits for name in data] == [2, 9, 1]
    flips = data.alias.to_bool_array()[:, 0]
    assert 150 < flips.sum() < 350
    assert (data.pair.to_bool_array(order="little") == np.stack([0 * flips, flips], axis=1)).all()
    assert (data.wide.to_bool_array(order="little")[:, 8] == flips).all()


def test_a_sampler_repeats_itself_with_a_seed_only(backend: QonduitBackend) -> None:
    circuit = QuantumCircuit(8)
    circuit.h(range(8))
    circuit.measure_all()
    pubs = [circuit, (circuit, None, 300), circuit]
    one, again, other = (
        [pub.data.meas.array for pub in SamplerV2(backend, seed=seed, default_shots=400).run(pubs).result()]
        for seed in (4, 4, None)
    )
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert not (one[0] == other[0]).all()
    assert not (one[0] == one[2]).all()
    assert len(SamplerV2(backend).run(pubs).ids) == 1


def test_shots_of_one_pub_say_nothing_about_those_of_another(backend: QonduitBackend) -> None:
    coin = QuantumCircuit(1)
    coin.h(0)
    coin.measure_all()
    pubs = SamplerV2(backend, seed=4, default_shots=2000).run([coin, coin]).result()
    first, second = (pub.data.meas.array for pub in pubs)
    assert 850 < (first == second).sum() < 1150  # the same order would make nearly all of them equal


def test_pubs_are_checked_before_they_are_sent(backend: QonduitBackend) -> None:
    sampler = SamplerV2(backend)
    with pytest.raises(ValueError, match="wrap it with"):
        sampler.run(turned())
    with pytest.raises(ValueError, match="number of values"):
        sampler.run([turned()])
    with pytest.raises(ValueError, match="positive"):
        sampler.run([(turned(), [0, 0])], shots=0)
    with pytest.warns(UserWarning, match="pub 0 has no classical registers"):
        result = sampler.run([QuantumCircuit(1)]).result()
    assert list(result[0].data) == []
    assert len(sampler.run([]).result()) == 0
    empty = QuantumCircuit(QuantumRegister(1), ClassicalRegister(0, "none"), ClassicalRegister(1, "one"))
    data = sampler.run([empty], shots=3).result()[0].data
    assert (data.none.array.shape, data.one.array.shape) == ((3, 0), (3, 1))
    assert sampler.run([(turned(), np.zeros((0, 2)))]).result()[0].data.meas.shape == (0,)


def test_primitives_are_made_in_many_ways(client: Client, backend: QonduitBackend) -> None:
    assert (SamplerV2(backend).default_shots, SamplerV2(backend).seed) == (1024, None)
    sampler = SamplerV2(backend, default_shots=7, options={"seed_simulator": 3})
    assert (sampler.default_shots, sampler.seed, sampler.backend) == (7, 3, backend)
    assert SamplerV2(backend, options=sampler.options).seed == 3
    assert EstimatorV2(backend, seed=3).options.seed_simulator == 3
    with pytest.raises(TypeError, match="once"):
        SamplerV2(backend, backend=backend)
    with pytest.raises(TypeError, match="QonduitBackend, not on object"):
        EstimatorV2(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="colour"):
        SamplerV2(backend, options={"colour": "blue"})


def test_a_primitives_job_is_followed_and_cancelled(backend: QonduitBackend) -> None:
    job = SamplerV2(backend).run([(turned(), [0, 0])])
    assert isinstance(job, BasePrimitiveJob)
    job.wait_for_final_state(timeout=60)
    assert (job.status(), job.done(), job.running(), job.in_final_state()) == (JobStatus.DONE, True, False, True)
    assert not job.cancel()
    slow = QuantumCircuit(24)
    for _ in range(200):
        slow.h(range(24))
        slow.cx(range(23), range(1, 24))
    slow.measure_all()
    job = SamplerV2(backend).run([slow], shots=1)
    assert job.cancel()
    with pytest.raises(JobError, match="cancelled"):
        job.result(timeout=60)
    assert job.cancelled()


@pytest.fixture(scope="module")
def question() -> tuple[QuantumCircuit, list[Any], Any]:
    """A circuit, observables of shape (3, 1) and parameters of shape (2,): six values."""
    circuit = QuantumCircuit(2, metadata={"a": 1})
    a, b = Parameter("a"), Parameter("b")
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rx(b, 1)
    observables = [[SparsePauliOp(["ZZ", "IX"], [0.5, -2])], ["YY"], [SparsePauliOp(["II", "ZI"], [1, 1])]]
    return circuit, observables, [[0.3, 1.1], [2.0, -0.4]]


@pytest.mark.parametrize(
    "make",
    [
        lambda backend: EstimatorV2(backend, seed=2, default_precision=0.02),
        lambda backend: EstimatorV2(backend=backend, options={"default_precision": 0.02, "abelian_grouping": False}),
        lambda backend: BackendEstimatorV2(backend=backend, options={"default_precision": 0.02, "seed_simulator": 2}),
    ],
)
def test_expectation_values_are_estimated(backend: QonduitBackend, question: Any, make: Any) -> None:
    exact = StatevectorEstimator().run([question]).result()[0].data.evs
    estimator = make(backend)
    assert isinstance(estimator, BaseEstimatorV2)
    (found, rough) = estimator.run([question, (*question, 0.2)]).result()
    assert found.data.evs.shape == found.data.stds.shape == (3, 2)
    assert np.abs(found.data.evs - exact).max() < 6 * 0.02 * 2.5
    shots = found.metadata.pop("shots")
    assert found.metadata == {"target_precision": 0.02, "circuit_metadata": {"a": 1}}
    if isinstance(estimator, EstimatorV2):  # Qiskit's own takes the precision for that of single terms
        assert shots > 2500
        assert (found.data.stds < 0.02 * 1.3).all()
        assert (np.abs(found.data.evs - exact) < 6 * 0.02).all()
    assert rough.metadata["shots"] < shots


def test_observables_are_read_from_their_own_register(backend: QonduitBackend) -> None:
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(2, "before"), ClassicalRegister(1, "between"))
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])  # before is 01
    circuit.x([0, 1])
    circuit.measure(1, 2)  # between is 1
    (found,) = EstimatorV2(backend, default_precision=0.1).run([(circuit, ["IZ", "ZI", "ZZ"])]).result()
    assert found.data.evs.tolist() == [1, -1, -1]  # the state is |10>


def test_exact_values_are_given_where_they_are_asked_for(backend: QonduitBackend, question: Any) -> None:
    exact = StatevectorEstimator().run([question]).result()[0].data.evs
    found, measured = EstimatorV2(backend, seed=1, exact=True).run([question, (*question, 0.1)]).result()
    assert np.abs(found.data.evs - exact).max() < 1e-9
    assert (found.data.stds == 0).all()
    (same,) = EstimatorV2(backend, default_precision=0.0).run([question]).result()
    assert (same.data.evs == found.data.evs).all()
    assert (measured.data.stds < 0.13).all()
    with pytest.raises(ValueError, match="non-negative"):
        EstimatorV2(backend).run([question], precision=-1)
    resets = QuantumCircuit(1)
    resets.h(0)
    resets.reset(0)
    reset = EstimatorV2(backend, exact=True).run([(resets, ["Z", "X"])]).result()[0].data.evs
    assert np.abs(reset - [1, 0]).max() < 1e-9  # of a state that is no pure one before the reset
    with pytest.raises(ValueError, match="exact=True"):
        EstimatorV2(backend).run([question], precision=0)


def test_a_generator_is_a_seed(backend: QonduitBackend, question: Any) -> None:
    circuit, _, values = question
    coin = circuit.copy()
    coin.measure_all()
    first, again, other = (
        SamplerV2(backend, seed=np.random.default_rng(seed)).run([(coin, values)]).result()[0].data.meas
        for seed in (1, 1, 2)
    )
    assert (first.array == again.array).all()
    assert (first.array != other.array).any()


def test_broadcasting_is_that_of_numpy(backend: QonduitBackend) -> None:
    circuit = QuantumCircuit(2)
    angles = ParameterVector("a", 2)
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    observables = ["ZI", "IZ", "ZZ", "XX", "IX"]
    rng = np.random.default_rng(3)
    shapes = [((), (5,)), ((5,), (5,)), ((3, 1), (5,)), ((3, 1, 5), (5, 1)), ((4,), ()), ((0,), (1,)), ((2, 5), (1, 5))]
    pubs = [
        (circuit, np.resize(np.array(observables), shape) if shape else "ZZ", rng.uniform(0, 3, (*points, 2)))
        for points, shape in shapes
    ]
    wanted = StatevectorEstimator().run(pubs).result()
    job = EstimatorV2(backend, exact=True).run(pubs)
    for (points, shape), found, right in zip(shapes, job.result(), wanted, strict=True):
        assert found.data.evs.shape == right.data.evs.shape == np.broadcast_shapes(points, shape)
        assert np.abs(found.data.evs - right.data.evs).max(initial=0) < 1e-9
    assert len(job.ids) == 1
    with pytest.raises(ValueError, match="broadcast"):
        EstimatorV2(backend, exact=True).run([(circuit, observables, np.zeros((3, 2)))])


def test_the_precision_is_that_of_the_whole_observable(backend: QonduitBackend) -> None:
    circuit = QuantumCircuit(3)
    for qubit, angle in enumerate((0.4, 1.1, 2.0)):
        circuit.ry(angle, qubit)
    observable = SparsePauliOp(["ZZI", "IZZ", "XII", "IXI"], [3, -2, 4, 1])
    (exact,) = StatevectorEstimator().run([(circuit, observable)]).result()
    found = [
        EstimatorV2(backend, seed=seed, default_precision=0.05).run([(circuit, observable)]).result()[0].data
        for seed in range(30)
    ]
    errors = np.array([each.evs - exact.data.evs for each in found])
    assert np.sqrt(np.mean(errors**2)) < 0.05 * 1.6  # chi-squared of 30: beyond by less than 1 in 10^6
    assert all(each.stds < 0.05 * 1.3 for each in found)


def test_idle_qubits_of_wide_circuits_are_removed_but_the_observed_ones(backend: QonduitBackend) -> None:
    wide = QuantumCircuit(backend.target.num_qubits + 40)
    wide.x(33)
    wide.h(5)
    sparse = [("Z", [33], 1.0), ("ZX", [33, 5], 2.0), ("Z", [wide.num_qubits - 1], 0.5)]
    observables = [SparsePauliOp.from_sparse_list([each], wide.num_qubits) for each in sparse]
    found = EstimatorV2(backend, exact=True).run([(wide, observables)]).result()[0].data.evs
    assert np.abs(found - [-1, -2, 0.5]).max() < 1e-9
