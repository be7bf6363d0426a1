# SPDX-License-Identifier: Apache-2.0
"""The messages of Celery that carry tasks: how a server writes them, and the application that reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from celery import Celery

from qonduit_server.execution.celery.messages import CELERY_TASK, STALL_SECONDS, TASK_EXCHANGE, Outgoing


def make_application(url: str, tls: dict[str, Any] | None = None) -> Celery:
    """Return an application of Celery without results, events, pickle and remote control."""
    application = Celery("qonduit", broker=url or None, set_as_current=False)
    application.conf.update(
        # Celery declares it, although messages use no exchange: the name must be one that Qonduit's user may declare.
        task_default_exchange=TASK_EXCHANGE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_detect_quorum_queues=False,
        # Celery restores a reduced count from a thread of its pool, on the connection that another thread reads: that
        # thread takes the answer, and the first one waits until the read times out.
        worker_enable_prefetch_count_reduction=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_use_ssl=tls,
        broker_heartbeat=10,
        broker_transport_options={"read_timeout": STALL_SECONDS, "write_timeout": STALL_SECONDS},
        worker_prefetch_multiplier=16,
    )
    return application


def encode(application: Celery, outgoing: Outgoing) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return headers, properties and body of a message of tasks.

    Version 2 of Celery's message protocol. `argsrepr` is empty: Celery logs it, and programs are not for logs.
    """
    text = base64.b64encode(outgoing.body).decode()
    message = application.amqp.as_task_v2(
        outgoing.message_id, CELERY_TASK, args=(text,), kwargs={}, argsrepr="", kwargsrepr="", ignore_result=True
    )
    return message.headers, {**message.properties, "delivery_mode": 1}, json.dumps(message.body).encode()


def register(application: Celery, run_tasks: Callable[[bytes], None]) -> None:
    """Register the task that takes a message of tasks."""

    def run(text: str) -> None:
        run_tasks(base64.b64decode(text))

    application.task(run, name=CELERY_TASK, ignore_result=True)
