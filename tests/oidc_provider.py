# SPDX-License-Identifier: Apache-2.0
"""A real OpenID Connect provider on loopback (tests/oidc), and its users, who log in by its web pages.

It issues JWT access tokens for an audience, opaque ones without, ID tokens and refresh tokens. Its packages are
installed once into `build/oidc`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

import pytest

from tests.missing_components import lacking

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ROOT / "tests" / "oidc"
INSTALLED: Final = ROOT / "build" / "oidc"
#: The public client of the device flow, and the confidential one of services.
CLIENT_ID: Final = "qonduit"
SERVICE, SERVICE_SECRET = "service", "service-secret"
_UNTESTED: Final = "logins at an OpenID Connect provider"
_AWAY: Final = re.compile(r"\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT)\b")
_PATIENCE: Final = 100
_STARTS: Final = 3
_MOST_PAGES: Final = 20


@dataclass
class OidcProvider:
    """A running provider. `issuer` is its URL; `issuer`/jwks has its keys."""

    issuer: str
    process: subprocess.Popen[str]

    def user(self, name: str) -> User:
        """Return a user with a browser without cookies. Every name exists, with any password."""
        return User(name)

    def service_token(self, audience: str, *, scope: str = "jobs") -> str:
        """Return a JWT access token of the client `service` for an audience, which is a URI."""
        form = {"grant_type": "client_credentials", "resource": audience, "scope": scope}
        basic = base64.b64encode(f"{SERVICE}:{SERVICE_SECRET}".encode()).decode()
        request = Request(f"{self.issuer}/token", urlencode(form).encode(), {"Authorization": f"Basic {basic}"})
        return str(_json(request)["access_token"])

    def counts(self) -> dict[str, int]:
        """Return the numbers of requests so far: "refresh_token success", "refresh_token error" and so on."""
        return _json(Request(f"{self.issuer}/-/counts"))


@dataclass
class User:
    """A person at a browser, who fills in the forms of the provider."""

    name: str
    _browser: OpenerDirector = field(
        default_factory=lambda: build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
    )

    def confirm(self, url: str, code: str = "") -> str:
        """Open the page of a device login, log in, and consent; return the last page.

        Args:
            url: the page, with or without the code.
            code: entered if the page asks for it.
        """
        return self._fill_in(url, code, deny=False)

    def deny(self, url: str, code: str = "") -> str:
        """Open the page of a device login and refuse it; return the last page."""
        return self._fill_in(url, code, deny=True)

    def _fill_in(self, url: str, code: str, *, deny: bool) -> str:
        page = self._open(Request(url))
        for _ in range(_MOST_PAGES):
            forms = _Forms(page[1]).forms
            if not forms:
                return page[1]
            form = forms[0]
            fields = {name: value for name, value in form.fields.items() if name != "abort"}
            fields |= {name: self.name for name in ("login", "password") if name in fields}
            if fields.get("user_code") == "":
                fields["user_code"] = code
            if deny and "abort" in form.fields:
                fields["abort"] = "yes"
            sent = urlencode(fields).encode()
            page = self._open(Request(urljoin(page[0], form.action), sent))
            if "abort" in fields:
                return page[1]
        raise AssertionError(f"the provider asks again and again: {page[1]}")

    def _open(self, request: Request) -> tuple[str, str]:
        with self._browser.open(request, timeout=_PATIENCE) as response:
            return response.url, response.read().decode()


@dataclass
class _Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """The forms of a page, with the values of their fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(_Form(values.get("action", "")))
        elif tag in ("input", "button") and self.forms and "name" in values:
            self.forms[-1].fields[values["name"]] = values.get("value", "")


def _json(request: Request) -> Any:
    with build_opener(ProxyHandler({})).open(request, timeout=_PATIENCE) as response:
        return json.loads(response.read())


def install() -> None:
    """Install the packages, once for each lock file; other test processes wait meanwhile."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            lacking(_UNTESTED, tool)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    names = ("package.json", "package-lock.json", ".npmrc")
    wanted = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in names)).hexdigest()
    stamp = INSTALLED / "installed"
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in names:
                shutil.copyfile(SOURCES / name, INSTALLED / name)
            command = ["npm", "ci", "--prefer-offline", "--prefix", str(INSTALLED)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode and _AWAY.search(done.stderr):
                lacking(_UNTESTED, "an npm registry")
            assert done.returncode == 0, done.stdout + done.stderr
            stamp.write_text(wanted)
        for program in SOURCES.glob("*.mjs"):
            copy = INSTALLED / program.name
            if not copy.exists() or copy.read_text() != program.read_text():
                copy.write_text(program.read_text())


@contextmanager
def serving_oidc(**options: Any) -> Iterator[OidcProvider]:
    """Run a provider with the options of tests/oidc/server.mjs."""
    install()
    process, issuer = _started(json.dumps(options))
    try:
        yield OidcProvider(issuer, process)
    finally:
        _end(process)


def _started(options: str) -> tuple[subprocess.Popen[str], str]:
    """Start the program, again if it hangs, which Node.js 20 seldom does at its start; return it with its URL."""
    for _ in range(_STARTS):
        process = subprocess.Popen(
            ["node", "server.mjs", options],
            cwd=INSTALLED,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        late = threading.Timer(_PATIENCE, process.kill)
        late.start()
        line = process.stdout.readline()
        late.cancel()
        if line.startswith("serving on "):
            return process, line.split()[-1]
        _end(process)
    raise AssertionError(f"the provider ended {_STARTS} times with {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()  # ends the provider
    process.wait(_PATIENCE)
    process.stdout.close()


@pytest.fixture(scope="module")
def oidc() -> Iterator[OidcProvider]:
    """A running provider."""
    with serving_oidc(groups={"alice": ["admins"]}) as provider:
        yield provider
