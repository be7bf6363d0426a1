# SPDX-License-Identifier: Apache-2.0
"""Check the settings of the broker, and whether it permits what servers and machines do there."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final
from uuid import uuid4

import kombu

from qonduit_server.errors import StartError
from qonduit_server.execution.celery.broker_link import own_queue, tls_options

#: The time limit of a connection attempt, and of each answer.
_CHECK_SECONDS: Final = 5.0


def check_broker(url: str, authorities: str = "") -> None:
    """Refuse brokers other than RabbitMQ, and settings with which no connection can be made. Makes no connection.

    Args:
        url: the URL of the broker.
        authorities: the file of the CAs of its certificate; empty: those of the system.

    Raises:
        StartError: the broker cannot be used.
    """
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "sentinel"):
        raise StartError(
            "Redis cannot be the broker: after a worker was killed, its task was not delivered again. Use RabbitMQ: "
            "amqp://USER@HOST/VHOST (broker)"
        )
    if scheme not in ("amqp", "amqps"):
        raise StartError("the executor celery needs the URL of a RabbitMQ: amqp://USER@HOST/VHOST, or amqps (broker)")
    try:
        kombu.Connection(url)
    except ValueError as error:
        raise StartError(
            f"the URL of the broker is invalid: {error}; use amqp://USER@HOST:PORT/VHOST (broker)"
        ) from error
    if authorities:
        try:
            ssl.create_default_context(cafile=authorities)
        except OSError as error:  # errors of TLS are among them
            why = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise StartError(f"cannot read the CAs of the broker, {authorities}: {why} (broker_ca)") from error


def broker_problem(url: str, authorities: str = "") -> str:
    """Connect as a server does, and declare what it declares; return why that fails, or an empty text.

    Args:
        url: the URL of the broker.
        authorities: the file of the CAs of its certificate; empty: those of the system.
    """
    connection = kombu.Connection(
        url,
        connect_timeout=_CHECK_SECONDS,
        ssl=tls_options(url, authorities),
        transport_options={"read_timeout": _CHECK_SECONDS, "write_timeout": _CHECK_SECONDS},
    )
    try:
        connection.connect()
        own_queue(f"qonduit.check.{uuid4()}", hellos=True)(connection).declare()
    except (*connection.connection_errors, *connection.channel_errors) as error:
        return f"{connection.as_uri()}: {error}"
    finally:
        with suppress(Exception):
            connection.collect()
    return ""
