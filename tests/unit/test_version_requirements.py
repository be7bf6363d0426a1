# SPDX-License-Identifier: Apache-2.0
"""Requirements of versions are parsed, compared and listed as PEP 440 defines."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import RequiredVersions
from qonduit.v1.provenance_pb2 import Provenance
from qonduit_server import version_requirements
from qonduit_server.version_requirements import listed, matches, requirements_of, unmet

AER = {"qiskit_aer": "0.17.2", "numpy": "2.3.5", "qonduit-quantum": "0.4.1.dev7+g1a2b3c4", "odd": "rolling"}


def spec(*requirements: str) -> JobSpec:
    return JobSpec(required_versions=RequiredVersions(requirements=requirements))


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("qiskit-aer==0.17.2", True),
        ("Qiskit.Aer == 0.17.*", True),
        ("qiskit-aer~=0.17.1", True),
        ("qiskit-aer==0.18.0", False),
        ("numpy>=2,<3", True),
        ("numpy>=2,<2.3", False),
        ("qonduit-quantum>=0.4.1.dev1", True),
        ("qonduit-quantum===0.4.1.dev7+g1a2b3c4", True),
        ("odd===rolling", True),
        ("odd>=1", False),
        ("cirq-core>=1", False),
    ],
)
def test_a_requirement_is_met_as_pep_440_defines(requirement: str, met: bool) -> None:
    assert matches(requirements_of(spec(requirement)), AER) == met


def test_equal_requirements_have_one_form() -> None:
    first = requirements_of(spec("Qiskit_Aer==0.17.2", "numpy <3, >=2"))
    assert first == requirements_of(spec("numpy>=2,<3", "qiskit-aer == 0.17.2"))
    assert first != requirements_of(spec("numpy>=2", "qiskit-aer == 0.17.2"))
    assert requirements_of(JobSpec()) == ()


def test_an_exact_rerun_requires_the_versions_of_the_first_run() -> None:
    repeated = JobSpec(required_provenance=Provenance(versions={"numpy": "2.3.5", "qiskit-aer": "0.17.2"}))
    assert requirements_of(repeated) == ("numpy===2.3.5", "qiskit-aer===0.17.2")
    repeated.required_versions.requirements.append("odd===rolling")
    assert matches(requirements_of(repeated), AER)


@pytest.mark.parametrize("text", ["qiskit-aer", "==1", "qiskit-aer=0.17", "numpy>=", "a b==1", "numpy>=2,,<x", "-a==1"])
def test_another_text_is_refused_with_the_form(text: str) -> None:
    (violation,) = version_requirements.broken(spec("numpy>=2", text))
    assert violation.field == "job.required_versions.requirements[1]"
    assert "as qiskit-aer==0.17.2" in violation.description
    assert repr(text) in violation.description


def test_waiting_needs_a_requirement() -> None:
    (violation,) = version_requirements.broken(JobSpec(required_versions=RequiredVersions(wait=True)))
    assert violation.field == "job.required_versions.wait"


def test_unmet_requirements_name_the_versions_that_are_there() -> None:
    wanted = requirements_of(spec("qiskit-aer==0.18.0", "numpy>=2", "cirq-core==1.5"))
    assert list(unmet(wanted, AER)) == ["cirq-core==1.5 (not installed)", "qiskit-aer==0.18.0 (has 0.17.2)"]


def test_listed_environments_are_distinct_and_few() -> None:
    wanted = requirements_of(spec("qiskit-aer==9"))
    environments = [{"qiskit-aer": f"0.{number}", "numpy": "1"} for number in range(7)]
    assert listed(wanted, [*environments[:2], environments[0]]) == "qiskit-aer 0.0; or qiskit-aer 0.1"
    assert listed(wanted, environments).endswith("qiskit-aer 0.4; or 2 others")
    assert listed(wanted, []) == "none"
