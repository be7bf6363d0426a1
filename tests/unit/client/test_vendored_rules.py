# SPDX-License-Identifier: Apache-2.0
"""The client beside another distribution that contains `buf.validate` in another version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qonduit._vendor.buf import validate_pb2

OURS = "import qonduit_client.client, qonduit.v1.job_service_pb2 as ours"
THEIRS = "import buf.validate.validate_pb2 as theirs"


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """Create a package `buf` whose descriptors differ from the client's."""
    package = tmp_path / "buf" / "validate"
    package.mkdir(parents=True)
    text = Path(validate_pb2.__file__).read_text().replace("qonduit._vendor.buf", "buf.validate")
    changed = text.replace("buf.build/gen/go", "buf.other/gen/go")
    assert changed != text
    (package / "validate_pb2.py").write_text(changed)
    return tmp_path


@pytest.mark.parametrize("imports", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours first", "theirs first"])
def test_both_are_imported_by_one_program(imports: tuple[str, str], another: Path) -> None:
    code = "\n".join([*imports, "print(ours.CreateJobRequest.DESCRIPTOR.full_name, theirs.__file__)"])
    environment = os.environ | {"PYTHONPATH": str(another)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["qonduit.v1.CreateJobRequest", str(another / "buf" / "validate" / "validate_pb2.py")]


def test_no_package_of_the_client_is_named_buf() -> None:
    code = "import qonduit_client.client, qonduit.v1.job_service_pb2, sys; print('buf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
