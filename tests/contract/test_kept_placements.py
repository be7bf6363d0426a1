# SPDX-License-Identifier: Apache-2.0
"""Processes with one cache folder place a program on a processor once, for devices shaped like IBM's and Google's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.languages.registry import Languages
from qonduit_server.process.file_cache import FileCache
from qonduit_server.providers.registry import get
from qonduit_server.providers.shapes import kept_placement
from qonduit_server.providers.shapes.fake_backends import FakeBackends
from qonduit_server.providers.shapes.processor_compiler import ProcessorCompiler
from qonduit_server.worker.runner import Runner
from tests.contract.test_provenance import run
from tests.contract.worker_jobs import sets

#: A star of five qubits, which neither processor has: a compiler must add swaps.
STAR = """OPENQASM 3.0; include "stdgates.inc"; {head}
qubit[5] q; bit[5] c; h q[0]; ry({angle}) q[0];
cx q[0], q[1]; cx q[0], q[2]; cx q[0], q[3]; rx(0.4) q[3]; cx q[0], q[4]; {end}"""
MEASURED = STAR.format(head="", angle="0.3", end="c = measure q;")
SWEPT = STAR.format(head="input float a;", angle="a", end="c = measure q;")
OBSERVED = STAR.format(head="input float a;", angle="a", end="")
DEVICES = [("IBM", "fake_lima"), ("GOOGLE", "rainbow")]


@pytest.fixture(autouse=True)
def _every_placement_is_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_placement, "_COSTLY_SECONDS", -1.0)


def process(name: str, folder: Path | None) -> Runner:
    """Return what a new worker process has: an own provider, and the common folder."""
    made = Runner(get(name), Languages(), files=None if folder is None else FileCache(folder, 1 << 24))
    made.load()
    return made


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def must_not_place(patched: pytest.MonkeyPatch) -> None:
    """Make the compilers of both SDKs fail the test."""
    for kind, method in ((FakeBackends, "_placed"), (ProcessorCompiler, "compile")):
        patched.setattr(kind, method, lambda *_: pytest.fail("placed again"))


@pytest.mark.parametrize(("provider", "device"), DEVICES)
@pytest.mark.parametrize("level", [1, 3])
def test_another_process_gives_the_same_counts_and_does_not_place_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, device: str, level: int
) -> None:
    spec: dict[str, Any] = {"seed": 5, "simulation": SimulationOptions(optimization_level=level)}
    alone = run(process(provider, None), MEASURED, device=device, **spec)
    first = run(process(provider, tmp_path), MEASURED, device=device, **spec)
    assert len(files(tmp_path)) == 1
    with monkeypatch.context() as patched:
        must_not_place(patched)
        second = run(process(provider, tmp_path), MEASURED, device=device, **spec)
    assert alone.numbers() == first.numbers() == second.numbers()
    layouts = [each.results[0].meta_data.fields["layout"] for each in (alone, first, second)]
    assert layouts[0] == layouts[1] == layouts[2]
    assert layouts[0].list_value.values


@pytest.mark.parametrize(("provider", "device"), DEVICES)
def test_other_owners_options_devices_and_programs_have_other_entries(
    tmp_path: Path, provider: str, device: str
) -> None:
    worker = process(provider, tmp_path)
    other = {"fake_lima": "fake_manila", "rainbow": "weber"}[device]
    run(worker, MEASURED, device=device, scope="users/a")
    run(worker, MEASURED, device=device, scope="users/a", shots=50)
    assert len(files(tmp_path)) == 1
    run(worker, MEASURED, device=device, scope="users/b")
    run(worker, MEASURED, device=device, simulation=SimulationOptions(optimization_level=2), scope="users/a")
    run(worker, MEASURED, device=other, scope="users/a")
    run(worker, MEASURED.replace("0.3", "0.31"), device=device, scope="users/a")
    assert len(files(tmp_path)) == 5


def test_sweeps_and_observables_are_placed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observables = EstimatorOptions(observables=[Observable(expression="X0*X1 + Z2 - 0.5*Y4")])
    jobs: list[tuple[str, dict[str, Any]]] = [
        (SWEPT, {"parameter_sets": sets(a=[0.1, 0.2, 0.3])}),
        (OBSERVED, {"type": JobType.JOB_TYPE_ESTIMATOR, "estimator": observables, "parameter_sets": sets(a=[0.1])}),
        (OBSERVED, {"type": JobType.JOB_TYPE_ESTIMATOR, "estimator": observables, "parameter_sets": sets(a=[0.2])}),
    ]
    first = process("IBM", tmp_path)
    before = [run(first, text, device="fake_lima", seed=4, **spec).numbers() for text, spec in jobs]
    with monkeypatch.context() as patched:
        must_not_place(patched)
        second = process("IBM", tmp_path)
        after = [run(second, text, device="fake_lima", seed=4, **spec).numbers() for text, spec in jobs]
    assert after == before


@pytest.mark.parametrize(("provider", "device"), DEVICES)
def test_a_file_that_cannot_be_read_is_placed_again(tmp_path: Path, provider: str, device: str) -> None:
    expected = run(process(provider, tmp_path), MEASURED, device=device, seed=5).numbers()
    (path,) = files(tmp_path)
    FileCache(tmp_path, 1 << 24).put(path.parent.name + path.name, b"[]\nno circuit")
    assert run(process(provider, tmp_path), MEASURED, device=device, seed=5).numbers() == expected
    assert run(process(provider, tmp_path), MEASURED, device=device, seed=5).numbers() == expected


def test_programs_that_are_placed_quickly_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_placement, "_COSTLY_SECONDS", 100.0)
    run(process("IBM", tmp_path), MEASURED, device="fake_lima")
    assert files(tmp_path) == []
