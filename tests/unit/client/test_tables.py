# SPDX-License-Identifier: Apache-2.0
"""Lists of messages are lists with a bounded table as their representation; methods and attributes are consistent."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys

import grpc
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from qonduit.v1 import result_pb2
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit_client import Client, aio
from qonduit_client.batch import Batch
from qonduit_client.listing import Table
from qonduit_client.message_table import ROWS
from qonduit_client.notebook import Bar
from qonduit_client.result import Result
from tests.unit.client.peer import BELL, FAILED, JOB, RUNNING, SUCCEEDED, Peer, Refusal, counted, history, job_at


def test_devices_are_a_list_and_a_table(client: Client) -> None:
    devices = client.devices()
    assert [each.name for each in devices] == ["aer_simulator"]
    assert devices[0] == Device.FromString(devices[0].SerializeToString())
    assert isinstance(devices, list)
    head, row = repr(devices).splitlines()
    assert head.split() == ["device", "qubits", "kind", "max", "shots", "waiting", "available", "noise", "methods"]
    assert row.split()[:3] == ["IBM/aer_simulator", "30", "simulator"]
    html = devices._repr_html_()
    assert html.startswith("<table>")
    assert "IBM/aer_simulator" in html
    assert repr(devices[:1]) == repr(devices) == repr(pickle.loads(pickle.dumps(devices)))  # noqa: S301 (our own)
    assert repr(devices[:0]) == "no devices"
    assert "QASM2" in repr(client.providers())


def test_jobs_are_read_as_they_are_taken_and_shown_as_a_table(peer: Peer) -> None:
    peer.page = 5
    with Client(peer.target) as client:
        jobs = client.jobs()
        first, second = next(jobs), next(jobs)
        assert repr(jobs).splitlines()[1].split()[:2] == ["7", "SUCCEEDED"]
        assert (first.id, second.id, len(list(jobs))) == (JOB, JOB, 5), "showing a table does not consume items"
        assert len(list(jobs)) == 5, "a second loop starts again"
        assert jobs[0].id == jobs[4].id == jobs[-1].id == JOB
        with pytest.raises(IndexError):
            jobs[5]
        assert (len(jobs[:3]), len(jobs[1:]), len(client.jobs(limit=2)[:3])) == (3, 4, 2)
        assert isinstance(jobs[:3], Table)
        assert "IBM/aer_simulator" in jobs._repr_html_()
        peer.refusals.append(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no such field"))
        assert repr(client.jobs("nonsense")) == "<jobs, not available: no such field>"


def test_the_asynchronous_jobs_are_awaited_or_iterated_over(peer: Peer) -> None:
    async def run() -> None:
        peer.page = 5
        async with aio.Client(peer.target) as client:
            table = await client.jobs(limit=3)
            assert (len(table), repr(table).splitlines()[1].split()[1]) == (3, "SUCCEEDED")
            assert "await" in repr(client.jobs())
            assert [each.id async for each in client.jobs()] == [JOB] * 5
            assert (await anext(client.jobs())).id == JOB

    asyncio.run(run())


def test_a_table_is_bounded_in_rows_and_cells() -> None:
    jobs = [job_at(SUCCEEDED) for _ in range(1000)]
    jobs[0].name = "<b>" + "x" * 1000
    table = Table(jobs, "Job")
    lines = repr(table).splitlines()
    assert len(lines) == ROWS + 2
    assert lines[-1] == f"... and {1000 - ROWS} more jobs"
    assert max(map(len, lines)) < 200
    html = table._repr_html_()
    assert html.count("<tr>") == ROWS + 1
    assert "<b>" not in html


def test_ipython_shows_a_single_message_as_a_table_of_its_fields(peer: Peer) -> None:
    shell = InteractiveShell.instance()
    try:
        with Client(peer.target) as client:
            peer.events = history(FAILED)
            shown, _ = shell.display_formatter.format(client.job(JOB).job())
            for text in shown["text/html"], shown["text/plain"]:
                assert "FAILED" in text
                assert "no gate foo" in text
            own = shell.display_formatter.formatters["text/html"]
            own.for_type(Job, lambda job: "mine")
            with Client(peer.target):
                assert shell.display_formatter.format(job_at(RUNNING))[0]["text/html"] == "mine"
    finally:
        InteractiveShell.clear_instance()


def test_a_bar_as_text_says_what_it_shows_and_is_bounded() -> None:
    assert Bar(JOB).text() == "Job 7: unknown, 0%, 0.0 s"
    bar = Bar(JOB, job_at(RUNNING, progress=0.5))
    assert bar.text() == "Job 7: RUNNING, 50%, IBM/aer_simulator, 1000 shots, 0.0 s"
    assert "IBM/aer_simulator, 1000 shots" in bar.html()
    bar.set_message("why " * 1000)
    assert len(bar.text()) < 300


def test_a_result_as_text_is_bounded() -> None:
    message = counted({hex(2**1000 + number): 1 for number in range(50)})
    assert "50 outcomes {0x1" in repr(Result(message))
    assert len(repr(Result(message))) < 300


def test_deprecated_names_still_work_and_name_their_replacements(peer: Peer) -> None:
    with Client(peer.target) as client:
        job = client.run(BELL)
        with pytest.warns(DeprecationWarning, match=r"call state\(\)") as caught:
            assert job.status == job.state() == "SUCCEEDED"
        assert caught[0].filename == __file__
        with pytest.warns(DeprecationWarning, match=r"call state\(\)"):
            assert Batch([job]).status == "SUCCEEDED"

    async def run() -> None:
        async with aio.Client(peer.target) as client:
            with pytest.warns(DeprecationWarning, match=r"call state\(\)"):
                assert await client.job(JOB).status() == "SUCCEEDED"

    asyncio.run(run())


def test_whole_numbers_in_metadata_are_ints() -> None:
    message = result_pb2.Result(id=1)
    message.meta_data.update({"seed": 7, "seconds": 0.5, "nested": {"runs": [1, 2.5]}, "cached": True, "none": None})
    found = Result(message).meta_data
    assert found == {"seed": 7, "seconds": 0.5, "nested": {"runs": [1, 2.5]}, "cached": True, "none": None}
    assert [type(each) for each in (found["seed"], found["nested"]["runs"][0], found["cached"])] == [int, int, bool]
    message.meta_data.update({"large": 1e300, "limit": float("inf")})
    assert isinstance(Result(message).meta_data["large"], float)
    assert Result(message).meta_data["limit"] == float("inf")


def state_of(*amplitudes: complex) -> Result:
    message = result_pb2.Result(id=1)
    message.statevector.num_qubits = len(amplitudes).bit_length() - 1
    message.statevector.real.extend(each.real for each in amplitudes)
    message.statevector.imaginary.extend(each.imag for each in amplitudes)
    return Result(message)


def test_a_statevector_is_an_array_of_complex_numbers() -> None:
    state = state_of(0.6, 0, 0, 0.8j).statevector
    assert isinstance(state, np.ndarray)
    assert (state.dtype, state.tolist()) == (np.complex128, [0.6, 0, 0, 0.8j])
    with pytest.raises(ValueError, match="read-only"):
        state[0] = 1
    assert Result(result_pb2.Result()).statevector is None


def test_without_numpy_a_statevector_names_the_extra_and_amplitudes_are_a_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    result = state_of(0.6, 0.8j)
    assert result.amplitudes == [0.6, 0.8j]
    with pytest.raises(ImportError, match=r'pip install "qonduit-quantum\[numpy\]"'):
        _ = result.statevector
    assert Result(result_pb2.Result()).statevector is None


def test_the_client_is_imported_without_numpy() -> None:
    code = (
        "import qonduit_client.result, qonduit_client.client, qonduit_client.aio, sys; sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
