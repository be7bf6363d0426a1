# SPDX-License-Identifier: Apache-2.0
"""Each noise model that no program can have is refused when the job is submitted, by the path of the field."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from qonduit.v1 import noise_pb2 as pb
from qonduit_server import noise_rules

CHANNEL = "job.noise_model.gate_errors[1].channel"
IDENTITY = [1.0, 0, 0, 0, 0, 0, 1.0, 0]


def of_channel(**fields: Any) -> pb.NoiseModel:
    """A model whose second error is the channel."""
    good = pb.GateError(gates=["x"], channel=pb.NoiseChannel(bit_flip=0.1))
    return pb.NoiseModel(gate_errors=[good, pb.GateError(gates=["x"], channel=pb.NoiseChannel(**fields))])


def kraus(*operators: list[float]) -> pb.NoiseModel:
    return of_channel(kraus=pb.KrausChannel(operators=[pb.KrausOperator(entries=each) for each in operators]))


def relaxation(t1: float, t2: float, duration: float = 1.0) -> pb.NoiseModel:
    return of_channel(thermal_relaxation=pb.ThermalRelaxation(t1=t1, t2=t2, duration=duration))


def paulis(**probabilities: float) -> pb.NoiseModel:
    return of_channel(pauli=pb.PauliChannel(probabilities=probabilities))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (of_channel(depolarizing=1.4), "depolarizing must be between 0 and 1.33333, got 1.4"),
        (of_channel(bit_flip=-0.1), "bit_flip must be between 0 and 1, got -0.1"),
        (of_channel(phase_flip=math.nan), "phase_flip must be between 0 and 1, got nan"),
        (of_channel(amplitude_damping=math.inf), "amplitude_damping must be between 0 and 1, got inf"),
        (of_channel(phase_damping=1.01), "phase_damping must be between 0 and 1"),
        (
            of_channel(generalized_amplitude_damping=pb.GeneralizedAmplitudeDamping(probability=0.1, excited=2)),
            "excited must be between 0 and 1, got 2",
        ),
        (relaxation(1.0, 2.1), "t2 must be at most 2 t1, got t1 = 1, t2 = 2.1"),
        (relaxation(0.0, 1.0), "t1 and t2 must be positive"),
        (relaxation(math.nan, 1.0), "t1 and t2 must be positive"),
        (relaxation(1.0, 1.0, math.inf), "duration at least 0"),
        (paulis(X=0.7, Y=0.7), "must not add up to more than 1, got 1.4"),
        (paulis(X=-0.1), "the probability of X must be between 0 and 1"),
        (paulis(X=math.nan), "the probability of X must be between 0 and 1"),
        (paulis(XX=0.1, Y=0.1), "all the same number"),
        (paulis(Q=0.1), "letters of I, X, Y, Z"),
        (paulis(XXXXX=0.1), "1 to 4 letters"),
        (kraus([0.9, *IDENTITY[1:]]), "must preserve the trace"),
        (kraus([math.nan, *IDENTITY[1:]]), "must preserve the trace"),
        (kraus(IDENTITY, [0.0] * 32), "the same n of 1 to 3 for all, got [8, 32]"),
        (kraus([1.0] * 9), "2 * 4^n numbers"),
        (kraus([1.0] * 512), "2 * 4^n numbers"),
    ],
)
def test_a_channel_that_is_none_is_refused(model: pb.NoiseModel, message: str) -> None:
    (violation,) = noise_rules.broken(model, "job.noise_model")
    assert violation.field == CHANNEL
    assert violation.description.startswith(f"{CHANNEL}: ")
    assert message in violation.description


@pytest.mark.parametrize(
    "model",
    [
        of_channel(depolarizing=4 / 3),
        relaxation(1.0, 2.0),
        relaxation(math.inf, math.inf),
        paulis(XY=0.5, ZZ=0.5),
        kraus(IDENTITY),
        kraus([0.6, 0, 0, 0, 0, 0, 0.6, 0], [0, 0, 0.8, 0, 0.8, 0, 0, 0]),
    ],
)
def test_what_is_just_allowed_is_accepted(model: pb.NoiseModel) -> None:
    assert list(noise_rules.broken(model, "job.noise_model")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[" * 40 + "]" * 40, "nested at most 32 levels"),
        ("[]", 'an object with a list "errors"'),
        (json.dumps({"errors": {}}), 'an object with a list "errors"'),
        (json.dumps({"errors": [{"type": "qerror"}, {"type": "z"}]}), 'errors[1].type must be "qerror" or "roerror"'),
        (json.dumps({"errors": [3]}), "errors[0].type must be"),
        ("x" * (noise_rules.MAX_BYTES + 1), "the devices IBM/fake_... have the noise of IBM's devices"),
    ],
)
def test_json_that_is_no_model_is_refused(text: str, message: str) -> None:
    (violation,) = noise_rules.broken(pb.NoiseModel(aer_json=text), "job.noise_model")
    assert violation.field.startswith("job.noise_model")
    assert message in violation.description
