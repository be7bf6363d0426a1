# SPDX-License-Identifier: Apache-2.0
"""Programs of the noisy corpus on devices: the path of a job's program, compared with the reference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit_server.errors import RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import SimulatorProvider
from tests.corpus import judge as judging
from tests.corpus.noisy.references import FOLDER
from tests.corpus.programs import EXACT, FALSE_ALARM, LANGUAGES, SEED, SHOTS


@dataclass(frozen=True)
class NoisyEntry:
    """A program in one language, and the noise model of its case."""

    case: str
    language: str
    pauli: bool
    noise: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the case."""
        return FOLDER / self.case

    def read(self, languages: Languages) -> Circuit:
        """Read it into the IR, with its noise as operations."""
        raw = (self.folder / f"program.{self.language}").read_bytes()
        text, binary = ("", raw) if self.language == "qpy" else (raw.decode(), b"")
        model = ParseDict(self.noise, NoiseModel())
        circuit = languages.read(LANGUAGES[self.language], text, binary, {}, gate_names=gate_names(model))
        return with_noise(circuit, model) if self.noise else circuit


@dataclass(frozen=True)
class NoisyVerdict:
    """The outcome on a device.

    `kind`: "identical", "refused" or "wrong". `off`: the largest difference of exact probabilities, or None without
    them. `distance`: the total variation of the counts from the reference.
    """

    kind: str
    detail: str = ""
    off: float | None = None
    distance: float = 0.0


def noisy_entries(language: str | None = None) -> Iterator[NoisyEntry]:
    """Yield every program in every language that can express it."""
    for entry in json.loads((FOLDER / "index.json").read_text())["cases"]:
        model = FOLDER / entry["case"] / "noise_model.json"
        noise = json.loads(model.read_text()) if model.is_file() else {}
        for each in entry["languages"]:
            if language is None or each == language:
                yield NoisyEntry(entry["case"], each, entry["pauli"], noise)


def noisy_devices() -> list[tuple[str, str]]:
    """Return every simulator of this installation that has noise, by provider and device."""
    return [
        (name, device.name)
        for name in sorted(registry.PROVIDERS)
        for device in registry.get(name).describe().devices
        if device.capabilities.noise and device.available and device.is_simulator
    ]


def judge_noisy(entry: NoisyEntry, languages: Languages, provider: SimulatorProvider, device: str) -> NoisyVerdict:
    """Read, compile and run one program, and compare its result with the reference."""
    try:
        circuit = entry.read(languages)
        compiled = provider.compile(circuit, device)
        *_, outcome = provider.run(device, [compiled], SHOTS, SEED)  # reports of progress come first
        exact = provider.probabilities(device, compiled)
    except RunError as error:
        return NoisyVerdict("refused", f"{error.reason}: {error.message}")
    if not isinstance(outcome, Outcome):
        assert isinstance(outcome, RunError)
        return NoisyVerdict("refused", f"{outcome.reason}: {outcome.message}")
    reference = judging.reference(entry.folder / "program")
    registers = [[each.name, len(each.bits)] for each in circuit.registers]
    if sorted(registers) != sorted(reference["registers"]):
        return NoisyVerdict("wrong", f"registers: {registers} instead of {reference['registers']}")
    counts = _by_key(circuit, reference, outcome.counts)
    verdict, detail = judging.judge(reference, reference["registers"], counts, FALSE_ALARM)
    if verdict != "ok":
        return NoisyVerdict("wrong", f"{verdict}: {detail}")
    shares = {key: number / SHOTS for key, number in counts.items()}
    distance = sum(_differences(reference["probs"], shares)) / 2
    off = None if exact is None else max(_differences(reference["probs"], _by_key(circuit, reference, exact)))
    if off is not None and off > EXACT:
        return NoisyVerdict("wrong", f"exact probabilities are off by {off:.2e}", off)
    return NoisyVerdict("identical", "", off, distance)


def _by_key(circuit: Circuit, reference: Mapping[str, Any], values: Mapping[int, Any]) -> dict[str, Any]:
    """Return values by keys of the reference. Registers are found by name: Cirq orders them by measurements."""
    names = [each.name for each in reversed(circuit.registers)]
    found = Counter[str]()
    for value, number in values.items():
        parts = dict(zip(names, circuit.key(value).split(), strict=True))
        found[" ".join(str(int(parts[name], 16)) for name, _ in reference["registers"])] += number
    return found


def _differences(wanted: Mapping[str, float], given: Mapping[str, float]) -> list[float]:
    return [abs(wanted.get(key, 0.0) - given.get(key, 0.0)) for key in {*wanted, *given}]
