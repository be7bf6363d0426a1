# SPDX-License-Identifier: Apache-2.0
"""A real OIDC provider (npm's oidc-provider) on loopback, for tests of its tokens."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.missing_components import lacking

_SOURCE: Final = Path(__file__).resolve().parent / "oidc_provider"
_INSTALLED: Final = Path(__file__).resolve().parents[1] / "build" / "oidc-provider"
#: The audience of a server under test, as its tokens contain it.
AUDIENCE: Final = "https://qonduit.example.org"


class OidcProvider:
    """A running provider; `issuer` is its URL."""

    def __init__(self) -> None:
        if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
            lacking("tokens of a real OIDC provider", *missing)
        self._process = subprocess.Popen(
            ["node", str(_install() / "provider.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.issuer = self.restart()

    def restart(self, algorithm: str = "ES256", *, keep_keys: bool = False, seconds: int = 3600) -> str:
        """Restart it with a new key; return its URL, which stays.

        Args:
            algorithm: of the key.
            keep_keys: whether it still publishes the old keys.
            seconds: how long its tokens are valid.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"alg": algorithm, "keep": keep_keys, "ttl": seconds}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), line
        return line

    def token(self, client: str, audience: str = AUDIENCE) -> str:
        """Return an access token of a client (anna and ben, olga the operator, adam the admin), by its credentials."""
        form = {"grant_type": "client_credentials", "resource": audience, "scope": "run"}
        basic = base64.b64encode(f"{client}:{client}-secret".encode()).decode()
        request = urllib.request.Request(
            f"{self.issuer}/token",
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {basic}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            return str(json.load(response)["access_token"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def running_oidc_provider() -> Iterator[OidcProvider]:
    """A provider for all tests of a process."""
    provider = OidcProvider()
    yield provider
    provider.close()


@pytest.fixture
def oidc_provider(running_oidc_provider: OidcProvider) -> OidcProvider:
    """A provider with one new key."""
    running_oidc_provider.restart()
    return running_oidc_provider


def _install() -> Path:
    """Install the provider's packages into a folder that later runs reuse; return the folder."""
    lock = (_SOURCE / "package-lock.json").read_bytes()
    folder = _INSTALLED / hashlib.sha256(lock).hexdigest()[:16]
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    with (_INSTALLED / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / ".installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_SOURCE / name, folder)
            done = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode:
                lacking(f"tokens of a real OIDC provider ({done.stderr[-300:]})", "an npm registry")
            (folder / ".installed").touch()
        shutil.copy(_SOURCE / "provider.mjs", folder)
    return folder
