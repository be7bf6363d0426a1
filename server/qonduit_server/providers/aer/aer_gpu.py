# SPDX-License-Identifier: Apache-2.0
"""Whether this machine can run IBM/aer_gpu: found without importing the SDK."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from qonduit_server.providers.provider import installed_version

DISTRIBUTION: Final = "qiskit-aer-gpu"
_DEVICE: Final = Path("/dev/nvidia0")
_SECONDS: Final = 5.0


class Gpu(NamedTuple):
    """What Aer's GPU device has.

    Args:
        memory_bytes: the memory of the GPU; 0 if the device cannot be offered.
        missing: why it cannot be offered; else empty.
    """

    memory_bytes: int
    missing: str


@cache
def find_gpu() -> Gpu:
    """Return the GPU of this machine."""
    return look_for_gpu(installed_version(DISTRIBUTION), _DEVICE, shutil.which("nvidia-smi") or "")


def look_for_gpu(version: str, device: Path, query: str) -> Gpu:
    """Return the usable GPU, or the missing part.

    Args:
        version: the version of the distribution with Aer for GPUs, "" if it is not installed.
        device: the file that the driver makes for the first GPU.
        query: the path of nvidia-smi, or "".
    """
    if not device.exists():
        return Gpu(0, f"no NVIDIA GPU is visible ({device})")
    if not version:
        return Gpu(0, f"{DISTRIBUTION} is not installed")
    if not query:
        return Gpu(0, "nvidia-smi is not installed, so the memory of the GPU is not known")
    command = [query, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return Gpu(int(done.stdout.split()[0]) * 1024**2, "")
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        return Gpu(0, f"nvidia-smi does not report the memory of the GPU: {error}")
