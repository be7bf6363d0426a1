# SPDX-License-Identifier: Apache-2.0
"""The provider IBM with its simulators and an account's machines: IBM's SDK calls IBM's service on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import qonduit_client
from qonduit_client.errors import QonduitError
from tests.vendor_cloud.fake_vendor import PRICE, Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.served_vendor import ASYMMETRIC, IBM, PATIENCE, connected

KEY = "an-api-key-of-the-lab"
DYNAMIC = """OPENQASM 3.0; include "stdgates.inc";
qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; if (c[0]) x q[1]; c[1] = measure q[1];
"""
TURNED = 'OPENQASM 3.0; include "stdgates.inc"; input float t; qubit[1] q; bit[1] c; rx(t) q[0]; c[0] = measure q[0];'


@pytest.fixture(scope="module")
def vendor() -> Iterator[FakeVendor]:
    with fake_vendor(IBM.service) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def client(vendor: FakeVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[qonduit_client.Client]:
    """Return a client of a server that has asked IBM for the machines of the account."""
    with connected(tmp_path_factory.mktemp("ibm"), vendor, IBM, "IBM") as client:
        client.refresh_devices("IBM", credential=IBM.credential(KEY))
        yield client


def test_the_machines_of_the_account_are_listed_as_ibm_describes_them(client: qonduit_client.Client) -> None:
    found = {each.name: each for each in client.devices() if not each.is_local}
    assert sorted(found) == ["machine", "static"]
    machine = found["machine"]
    assert (machine.num_qubits, machine.max_shots, machine.with_token) == (5, 8192, True)
    assert machine.status_message == "online; 3 jobs wait at IBM"
    assert list(machine.basis_gates) == ["id", "rz", "sx", "x", "cx"]
    calibration = client.calibration("IBM/machine")
    assert len(calibration.qubits) == 5
    assert {(each.first, each.second) for each in calibration.coupling_map} >= {(0, 1), (1, 2), (1, 3), (3, 4)}


def test_jobs_run_on_a_machine_and_on_a_simulator(client: qonduit_client.Client) -> None:
    handle = client.run(ASYMMETRIC, device="IBM/machine", shots=50, credential=IBM.credential(KEY))
    result = handle.result(timeout=PATIENCE)
    assert dict(result.counts) == {"0x1 0x0": 50}
    assert result.meta_data["layout"]
    status = handle.job().provider_status
    assert (status.state, status.cost.amount, status.cost.unit) == ("Completed", PRICE, "IBM seconds")
    local = client.run(ASYMMETRIC, device="IBM/aer_simulator", shots=50)
    assert dict(local.result(timeout=PATIENCE).counts) == {"0x1 0x0": 50}


def test_points_of_a_sweep_are_circuits_of_one_job_at_ibm(client: qonduit_client.Client, vendor: FakeVendor) -> None:
    before = vendor.accepted
    values = {"t": [0.0, 3.141592653589793]}
    job = client.run(TURNED, "IBM/machine", 20, credential=IBM.credential(KEY), parameter_values=values)
    assert [dict(each.counts) for each in job.results(timeout=PATIENCE)] == [{"0x0": 20}, {"0x1": 20}]
    assert vendor.accepted == before + 1


def test_a_machine_without_control_flow_refuses_it_before_anything_is_sent(
    client: qonduit_client.Client, vendor: FakeVendor
) -> None:
    run = client.run(DYNAMIC, device="IBM/machine", shots=20, credential=IBM.credential(KEY))
    assert dict(run.result(timeout=PATIENCE).counts) == {"0x3": 20}
    before = vendor.accepted
    with pytest.raises(QonduitError, match="IBM/static has no operations conditioned on measured bits"):
        client.run(DYNAMIC, device="IBM/static", shots=20, credential=IBM.credential(KEY)).result(timeout=PATIENCE)
    assert vendor.accepted == before


def test_a_limit_of_costs_is_enforced_before_the_submission_and_by_ibm(
    client: qonduit_client.Client, vendor: FakeVendor
) -> None:
    before = vendor.accepted
    options = {"device": "IBM/machine", "shots": 1000, "credential": IBM.credential(KEY)}
    # 10 s, 1 s for the circuit and 2 ms for each shot.
    with pytest.raises(QonduitError, match="IBM seconds"):
        client.run(ASYMMETRIC, max_cost="12 IBM seconds", **options).result(timeout=PATIENCE)
    assert vendor.accepted == before
    job = client.run(ASYMMETRIC, max_cost="13 IBM seconds", **options)
    assert dict(job.result(timeout=PATIENCE).counts) == {"0x1 0x0": 1000}
    (own,) = list(vendor.control()["jobs"].values())[before:]
    assert own["most_seconds"] == 13


def test_a_key_that_ibm_does_not_know_lists_no_machines(client: qonduit_client.Client, vendor: FakeVendor) -> None:
    vendor.control(tokens=["another-key"])
    with pytest.raises(QonduitError, match="status 40") as refused:
        client.refresh_devices("IBM", credential=IBM.credential("a-wrong-key-of-the-lab"))
    assert "a-wrong-key" not in str(refused.value)
    vendor.control(**vars(Behavior()))
