# SPDX-License-Identifier: Apache-2.0
"""The provider GOOGLE with its simulators and a project's processors: Google's client calls its service on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import qonduit_client
from qonduit_client.errors import QonduitError
from tests.contract.rpc_fixture import until
from tests.vendor_cloud.fake_vendor import Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.served_vendor import ASYMMETRIC, GOOGLE, PATIENCE, connected

#: The contract of vendors has the calls; `make vendors` runs this too.
pytestmark = pytest.mark.long
TOKEN = "ya29.a-token-of-the-lab"
TURNED = 'OPENQASM 3.0; include "stdgates.inc"; input float t; qubit[1] q; bit[1] c; rx(t) q[0]; c[0] = measure q[0];'


@pytest.fixture(scope="module")
def vendor() -> Iterator[FakeVendor]:
    with fake_vendor(GOOGLE.service) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def client(vendor: FakeVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[qonduit_client.Client]:
    """Return a client of a server that has asked Google for the processors of the project."""
    with connected(tmp_path_factory.mktemp("google"), vendor, GOOGLE, "GOOGLE", vendor_probes="all") as client:
        stored = client.credentials.create("lab", "GOOGLE", GOOGLE.credential(TOKEN))
        client.refresh_devices("GOOGLE", credential=stored)
        yield client


def test_the_processors_of_the_project_are_listed_as_google_describes_them(client: qonduit_client.Client) -> None:
    found = {each.name: each for each in client.devices() if not each.is_local}
    assert sorted(found) == ["engine_away", "engine_machine"]
    machine, away = found["engine_machine"], found["engine_away"]
    assert (machine.num_qubits, machine.available, machine.with_token) == (105, True, True)
    assert machine.status_message == "health OK, MAINTENANCE from 2030-01-02 03:04 UTC"
    assert list(machine.basis_gates) == ["rz", "u", "cz"]
    assert (away.num_qubits, away.available) == (23, False)
    calibration = client.calibration("GOOGLE/engine_machine")
    assert (len(calibration.qubits), len(calibration.coupling_map)) == (105, 364)
    assert calibration.calibrated_at.seconds == 1723795877


def test_jobs_run_on_a_processor_and_on_a_simulator(client: qonduit_client.Client) -> None:
    handle = client.run(ASYMMETRIC, device="GOOGLE/engine_machine", shots=50, credential=GOOGLE.credential(TOKEN))
    result = handle.result(timeout=PATIENCE)
    assert dict(result.counts) == {"0x1 0x0": 50}
    assert (result.meta_data["processor"], result.meta_data["calibration_id"]) == ("machine", "1723795877")
    assert handle.job().provider_status.state == "SUCCESS"
    for device in ("GOOGLE/cirq_simulator", "GOOGLE/AUTO"):
        local = client.run(ASYMMETRIC, device=device, shots=50)
        assert dict(local.result(timeout=PATIENCE).counts) == {"0x1 0x0": 50}


def test_a_probe_verifies_the_order_of_the_bits_of_a_processor(client: qonduit_client.Client) -> None:
    until(lambda: any(each.HasField("verified_at") for each in client.devices() if each.name == "engine_machine"))


def test_points_of_a_sweep_are_jobs_of_their_own(client: qonduit_client.Client, vendor: FakeVendor) -> None:
    before = vendor.accepted
    values = {"t": [0.0, 3.141592653589793]}
    job = client.run(TURNED, "GOOGLE/engine_machine", 20, credential=GOOGLE.credential(TOKEN), parameter_values=values)
    assert [dict(each.counts) for each in job.results(timeout=PATIENCE)] == [{"0x0": 20}, {"0x1": 20}]
    assert vendor.accepted == before + 2


def test_a_token_that_google_does_not_know_lists_no_processors(
    client: qonduit_client.Client, vendor: FakeVendor
) -> None:
    vendor.control(tokens=["another-token"])
    with pytest.raises(QonduitError, match="is not valid") as refused:
        client.refresh_devices("GOOGLE", credential=GOOGLE.credential("a-wrong-token-of-the-lab"))
    assert "a-wrong-token" not in str(refused.value)
    vendor.control(**vars(Behavior()))
