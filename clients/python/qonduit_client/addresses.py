# SPDX-License-Identifier: Apache-2.0
"""Addresses of servers: the default one, the default port, those of this machine, and safe URLs. Imports no gRPC."""

from __future__ import annotations

import ipaddress
from typing import Final

DEFAULT_TARGET: Final = "127.0.0.1:50051"
#: The targets of gRPC that are lists of addresses, "ipv4:HOST:PORT,HOST:PORT".
_LISTS: Final = ("ipv4:", "ipv6:")


def with_port(target: str) -> str:
    """Add the default port to a target without one. A list of addresses stays as it is.

    Raises:
        ValueError: the target is a URL.
    """
    if target.startswith(("http://", "https://", "grpc://", "grpcs://")):
        scheme, _, rest = target.partition("://")
        suggestion = f"{rest.strip('/')!r} and tls=True" if scheme.endswith("s") else repr(rest.strip("/"))
        raise ValueError(f"target must be HOST:PORT: instead of {target!r}, pass {suggestion}")
    if target.startswith(_LISTS):
        return target
    host, colon, port = target.rpartition(":")
    if "/" in target or (colon and port.isdigit() and host and not (":" in host and not host.endswith("]"))):
        return target
    if target.count(":") > 1 and not target.startswith("["):
        target = f"[{target}]"
    return f"{target}:50051"


def is_local(target: str) -> bool:
    """Return whether the target is this machine: loopback or a Unix socket."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    hosts = target.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:")
    return all(is_loopback(host.rpartition(":")[0].strip("[]").lower()) for host in hosts.split(","))


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str) -> None:
    """Check that a URL of an identity provider is encrypted, or is on this machine.

    Raises:
        ValueError: it is not.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or parts.scheme not in ("https", "http") or parts.username is not None or not url.isprintable():
        raise ValueError(f"must be an https:// URL, got {url!r:.200}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"must be an https:// URL (http:// only on this machine), got {url!r:.200}")
