# SPDX-License-Identifier: Apache-2.0
"""Descriptions need no SDK, and the error of a missing one names the extra that installs it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from qonduit_server.errors import ProviderError
from qonduit_server.providers import registry
from qonduit_server.providers.provider import installed_version


def test_names() -> None:
    assert registry.names()[:4] == ("IBM", "AWS", "GOOGLE", "STIM")
    for name in registry.names():
        assert registry.get(name).name == name


def test_describing_built_in_providers_does_without_importlib_metadata() -> None:
    code = (
        "import sys\n"
        "from qonduit_server.worker import assembly, forkserver\n"
        "from qonduit_server.providers import registry\n"
        "for name in registry.PROVIDERS: assembly.describe_provider(registry.get(name))\n"
        "print('importlib.metadata' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ProviderError, match="IBM"):
        registry.get("UNKNOWN")


def test_versions_are_those_of_the_installed_distributions() -> None:
    for distribution in ("qiskit-aer", "amazon-braket-sdk", "cirq-core", "stim", "qonduit-quantum", "PyYAML"):
        assert installed_version(distribution) == metadata.version(distribution)
    assert installed_version("not-installed") == ""


def test_describing_imports_no_sdk() -> None:
    code = (
        "import sys\n"
        "from qonduit_server.worker import runner\n"
        "from qonduit_server.providers import registry\n"
        "for name in registry.names(): registry.get(name).describe()\n"
        "print(sorted({'qiskit', 'qiskit_aer', 'cirq', 'braket', 'stim', 'numpy', 'openqasm3'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("IBM", "qiskit_aer", "ibm"), ("AWS", "braket", "aws"), ("GOOGLE", "cirq", "google"), ("STIM", "stim", "stim")],
)
def test_a_missing_sdk_names_the_extra(name: str, module: str, extra: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from qonduit_server.errors import ProviderError\n"
        "from qonduit_server.providers import provider, registry\n"
        "provider.installed_versions = dict\n"
        f"found = registry.get({name!r})\n"
        "description = found.describe()\n"
        "print(description.unavailable, description.devices[0].available, description.devices[0].status_message)\n"
        "try: found.load()\n"
        "except ProviderError as error: print(error.reason, error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.strip().splitlines()
    assert first == f'install "qonduit-quantum[{extra}]" False install "qonduit-quantum[{extra}]"'
    assert second.startswith("SDK_MISSING ")
    assert f'install "qonduit-quantum[{extra}]"' in second
