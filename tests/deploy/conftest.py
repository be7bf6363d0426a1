# SPDX-License-Identifier: Apache-2.0
"""The image, built once for all tests of it."""

from __future__ import annotations

import pytest

from tests.deploy.containers import WHEELS, Containers, require


@pytest.fixture(scope="session")
def containers() -> Containers:
    require("buildah", "podman", "runc", "catatonit")
    return Containers()


@pytest.fixture(scope="session")
def image(containers: Containers) -> str:
    """Build the image as documented, on a machine without a network."""
    containers.buildah(
        *("bud", "--isolation=chroot", "--pull-never", "--layers", "--build-arg", f"BASE={containers.base()}"),
        *("--file", "deploy/Containerfile", "--tag", "localhost/qonduit", WHEELS),
        offline=True,
    )
    return "localhost/qonduit"
