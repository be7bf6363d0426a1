# SPDX-License-Identifier: Apache-2.0
"""IBM/aer_gpu is offered where a GPU can run it, with a bound of its own; elsewhere it says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.aer.aer_gpu import Gpu, look_for_gpu
from qonduit_server.providers.offered import ibm
from qonduit_server.providers.provider import CompileOptions
from tests.unit.providers.aer_samples import SimulationOptions, ghz, layered

MIB = 1024**2


def script(folder: Path, text: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_is_missing(tmp_path: Path) -> None:
    device = tmp_path / "nvidia0"
    assert look_for_gpu("0.18", device, "x").missing == f"no NVIDIA GPU is visible ({device})"
    device.touch()
    assert look_for_gpu("", device, "x").missing == "qiskit-aer-gpu is not installed"
    assert "nvidia-smi is not installed" in look_for_gpu("0.18", device, "").missing
    assert "does not report" in look_for_gpu("0.18", device, script(tmp_path, "exit 3")).missing
    assert "does not report" in look_for_gpu("0.18", device, script(tmp_path, "echo none")).missing
    assert look_for_gpu("0.18", device, script(tmp_path, "echo 16384; echo 99")) == Gpu(16384 * MIB, "")


def test_without_a_gpu_there_is_no_such_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibm, "find_gpu", lambda: Gpu(0, "none"))
    provider = ibm.IBM()
    assert "aer_gpu" not in [device.name for device in provider.describe().devices]
    with pytest.raises(DeviceError, match="IBM has no device aer_gpu; it has aer_simulator"):
        provider.compile(Circuit(ghz(2), ()), "aer_gpu")


def test_with_a_gpu_its_memory_bounds_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibm, "find_gpu", lambda: Gpu(64 * MIB, ""))
    provider = ibm.IBM()
    device = provider.describe().devices[1]
    assert device.name == "aer_gpu"
    assert device.num_qubits == 22
    assert {each.name for each in device.capabilities.methods} == {"statevector", "density_matrix", "trajectories"}
    assert provider.compile(Circuit(layered(22, 1), ()), "aer_gpu").memory_bytes == 64 * MIB
    # No stabilizer on a GPU, and no matrix product state.
    for quantum, consent in ((ghz(23), False), (layered(23, 1), True)):
        options = CompileOptions(simulation=SimulationOptions(allow_approximate=consent))
        with pytest.raises(LimitError, match="use at most 22 qubits") as caught:
            provider.compile(Circuit(quantum, ()), "aer_gpu", options)
        assert "allow_approximate" not in caught.value.message
