# SPDX-License-Identifier: Apache-2.0
"""A real OpenID Connect provider whose keys rotate, for tests of a server that verifies its tokens.

`tests/oidc_provider.py` has the one at which people log in.
"""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Final

import pytest

from tests.oidc_provider import INSTALLED, install

#: The audience of a server under test, as its tokens contain it.
AUDIENCE: Final = "https://qonduit.example.org"


class RotatingProvider:
    """A running provider; `issuer` is its URL."""

    def __init__(self) -> None:
        install()
        self._process = subprocess.Popen(
            ["node", str(INSTALLED / "rotating_keys.mjs")],
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
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def running_oidc_provider() -> Iterator[RotatingProvider]:
    """A provider for all tests of a process."""
    provider = RotatingProvider()
    yield provider
    provider.close()


@pytest.fixture
def oidc_provider(running_oidc_provider: RotatingProvider) -> RotatingProvider:
    """A provider with one new key."""
    running_oidc_provider.restart()
    return running_oidc_provider
