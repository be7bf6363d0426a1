# SPDX-License-Identifier: Apache-2.0
"""IBM's fake backends as their files describe them: read as JSON, without a quantum SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from qonduit.v1.calibration_pb2 import CoupledQubits, DeviceCalibration, GateCalibration, QubitCalibration
from qonduit_server.providers.provider import offered_fake_backends

#: The package whose files describe the backends; it is not imported.
PACKAGE: Final = "qiskit_ibm_runtime"
#: What the setting `fake_backends` may contain beside names.
DEFAULT: Final = "default"
ALL: Final = "all"
#: The backends of the default: each size and each native gate for two qubits that IBM has had.
OFFERED: Final = ("manila", "lima", "nairobi", "guadalupe", "montreal", "washington", "torino", "fez")
#: In seconds.
_UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
#: Listed among the gates of some backends, and not a gate.
_NO_GATES: Final = frozenset(("reset", "delay", "measure"))


@dataclass(frozen=True)
class Backend:
    """The shape of a backend.

    Args:
        name: the device's name, "fake_manila".
        num_qubits: how many it has.
        basis_gates: its native gates.
        dt: the unit of durations in dt, in seconds; None if the backend has none.
        max_shots: how many it ran at most for one job.
        properties: the file of its calibration; None for a backend of IBM's service.
    """

    name: str
    num_qubits: int
    basis_gates: tuple[str, ...]
    dt: float | None
    max_shots: int
    properties: Path | None
    gate_qubits: Mapping[str, tuple[tuple[int, ...], ...]]
    coupling_map: tuple[tuple[int, int], ...]


def offered() -> list[Backend]:
    """Return the backends that the settings offer; none if their package is not installed."""
    names: dict[str, None] = {}
    for name in offered_fake_backends():
        chosen = {DEFAULT: [f"fake_{each}" for each in OFFERED], ALL: _installed()}.get(name, [name])
        names.update(dict.fromkeys(chosen))
    return [found for name in names if (found := find_backend(name)) is not None]


def _installed() -> list[str]:
    folder = _folder()
    return sorted(f"fake_{each.parent.name}" for each in folder.glob("*/conf_*.json")) if folder else []


@cache
def _folder() -> Path | None:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "fake_provider", "backends")


@cache
def find_backend(name: str) -> Backend | None:
    """Return a backend by its name, "fake_manila"; None if its files are not installed."""
    folder, short = _folder(), name.removeprefix("fake_")
    if folder is None or short == name or not short.isidentifier():
        return None
    properties = folder / short / f"props_{short}.json"
    configuration = folder / short / f"conf_{short}.json"
    if not (configuration.is_file() and properties.is_file()):
        return None
    return backend(name, json.loads(configuration.read_text("utf-8")), properties)


def backend(name: str, configuration: Mapping[str, Any], properties: Path | None = None) -> Backend:
    """Return a backend as its configuration describes it.

    Args:
        name: the device's name.
        configuration: as IBM's service returns it.
        properties: the file of its calibration.
    """
    basis = tuple(gate for gate in configuration["basis_gates"] if gate not in _NO_GATES)
    return Backend(
        name,
        configuration["n_qubits"],
        basis,
        configuration["dt"] * 1e-9 if "dt" in configuration else None,
        configuration["max_shots"],
        properties,
        {
            gate["name"]: tuple(tuple(qubits) for qubits in gate["coupling_map"])
            for gate in configuration["gates"]
            if gate["name"] in basis
        },
        tuple((first, second) for first, second in configuration["coupling_map"] or ()),
    )


@cache
def calibration(backend_name: str) -> DeviceCalibration:
    """Return the calibration of a backend; callers must not change it."""
    found = find_backend(backend_name)
    assert found is not None
    assert found.properties is not None
    return calibration_of(found, json.loads(found.properties.read_text("utf-8")))


def calibration_of(backend: Backend, properties: Mapping[str, Any]) -> DeviceCalibration:
    """Return the calibration of a backend from its properties, as IBM's service returns them."""
    found = DeviceCalibration(
        qubits=[_qubit(number, values) for number, values in enumerate(properties["qubits"])],
        gates=_gates(backend, properties["gates"]),
        coupling_map=[CoupledQubits(first=first, second=second) for first, second in backend.coupling_map],
        dt=backend.dt,
    )
    found.calibrated_at.FromJsonString(properties["last_update_date"])
    return found


def _qubit(number: int, measured: list[Mapping[str, Any]]) -> QubitCalibration:
    values = _values(measured)
    return QubitCalibration(
        qubit=number,
        t1=values.get("T1"),
        t2=values.get("T2"),
        prob_1_given_0=values.get("prob_meas1_prep0"),
        prob_0_given_1=values.get("prob_meas0_prep1"),
        readout_duration=values.get("readout_length"),
    )


def _gates(backend: Backend, measured: list[Mapping[str, Any]]) -> Iterator[GateCalibration]:
    for gate in measured:
        name = gate["gate"]
        if name in backend.gate_qubits or name == "reset":
            values = _values(gate["parameters"])
            yield GateCalibration(
                gate=name,
                qubits=gate["qubits"],
                error=values.get("gate_error"),
                duration=values.get("gate_length"),
            )


def _values(measured: list[Mapping[str, Any]]) -> dict[str, float]:
    """Return named values; times in seconds."""
    return {entry["name"]: entry["value"] * _UNITS.get(entry["unit"], 1.0) for entry in measured}
