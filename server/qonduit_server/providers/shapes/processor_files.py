# SPDX-License-Identifier: Apache-2.0
"""Google's virtual processors as the files of cirq-google describe them: read without importing a quantum SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit_server.providers.shapes import processor_shapes
from qonduit_server.providers.shapes.processor_shapes import Metrics, Processor

#: The files of each processor, in `specifications` and `calibrations`, and the time of the calibration in milliseconds,
#: which is not in the file. All three as in cirq_google.engine.virtual_engine_factory (1.7).
_FILES: Final = {
    "rainbow": ("rainbow_2021_12_10", "rainbow_2021_11_16", 1637058415838),
    "weber": ("weber_2021_12_10", "weber_2021_11_03", 1635923188204),
    "willow_pink": ("willow_pink_d7v1-2024_08_16", "willow_pink_d7v1-2024_08_16", 1723795877630),
}
_TOKEN: Final = re.compile(r'(\w+)\s*(\{|:\s*(?:"([^"]*)"|(\S+)))|\}')


@cache
def processors() -> Mapping[str, Processor]:
    """Return the processors by name; none if their package is not installed."""
    folder = _folder()
    found = {}
    for name, (specification, _, _) in _FILES.items():
        shape = folder / "specifications" / f"{specification}_device_spec_for_grid_device.proto.txt" if folder else None
        if shape is not None and shape.is_file() and _metrics_file(name).is_file():
            found[name] = _processor(name, shape.read_text("utf-8"))
    return found


def _folder() -> Path | None:
    spec = find_spec("cirq_google")
    return Path(spec.submodule_search_locations[0], "devices") if spec and spec.submodule_search_locations else None


def _metrics_file(name: str) -> Path:
    return (_folder() or Path()) / "calibrations" / f"{_FILES[name][1]}_calibration.json"


def _processor(name: str, specification: str) -> Processor:
    fields = _parse(_TOKEN.finditer(specification))
    pairs = set()
    for kind in (value for key, value in fields if key == "valid_targets"):
        for target in (value for key, value in kind if key == "targets"):
            on = [value for key, value in target if key == "ids"]
            if len(on) == 2:
                pairs.add((on[0], on[1]))
    times: dict[str, int] = {}
    for gate in (value for key, value in fields if key == "valid_gates"):
        (kind,) = (key for key, value in gate if isinstance(value, list))
        times[kind] = int(dict(gate).get("gate_duration_picos", 0))
    found = processor_shapes.processor(name, (value for key, value in fields if key == "valid_qubits"), pairs, times)
    # A gate for two qubits that was not measured is not offered, because it would have no error: rainbow and weber have
    # no CZ.
    metrics = _metrics(name)
    absent = {gate for gate in found.two_qubit_gates if not processor_shapes.measured(gate, metrics)}
    return replace(
        found,
        basis_gates=tuple(gate for gate in found.basis_gates if gate not in absent),
        two_qubit_gates=tuple(gate for gate in found.two_qubit_gates if gate not in absent),
        durations={gate: duration for gate, duration in found.durations.items() if gate not in absent},
    )


def _parse(tokens: Iterator[re.Match[str]]) -> list[tuple[str, Any]]:
    """Return the fields of a message in protobuf's text format, messages as lists of fields."""
    fields: list[tuple[str, Any]] = []
    for token in tokens:
        name, value, quoted, plain = token.groups()
        if name is None:
            break
        fields.append((name, _parse(tokens) if value == "{" else plain if quoted is None else quoted))
    return fields


@cache
def _metrics(name: str) -> Metrics:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in json.loads(_metrics_file(name).read_text("utf-8"))["metrics"]["metrics"]:
        found.setdefault(metric["name"], {})[tuple(metric["targets"])] = metric["values"][0]["doubleVal"]
    return found


@cache
def calibration(name: str) -> DeviceCalibration:
    """Return the calibration of a processor; callers must not change it."""
    return processor_shapes.calibration(processors()[name], _metrics(name), _FILES[name][2])
