# SPDX-License-Identifier: Apache-2.0
"""Lists of deployments: the fields of their filters, and the indexes that yield them in each order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select

from qonduit.v1.deployment_pb2 import Deployment
from qonduit_server.store.database import Database
from qonduit_server.store.deployments import COLUMNS, messages
from qonduit_server.store.filter_conditions import (
    Field,
    Words,
    boolean_field,
    filter_terms,
    number_field,
    project_field,
    text_field,
    time_field,
)
from qonduit_server.store.labels import DEPLOYMENT_LABELS
from qonduit_server.store.list_indexes import (
    Order,
    Path,
    ScannedList,
    label_path,
    owner_path,
    present_order,
    whole_path,
)
from qonduit_server.store.list_scan import Row, Scan, chosen_owners, read_page
from qonduit_server.store.owned_queries import principal_of
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.schema import IS_VERSION, deployment_labels, deployments

#: The estimated size of a deployment in a list, without its programs.
_OVERHEAD_BYTES: Final = 400
_SELECT_ROWS: Final = select(*COLUMNS, deployments.c.size)

_FIELDS: Final[Mapping[str, Field]] = {
    "name": text_field(deployments.c.name),
    "owner": text_field(deployments.c.caller),
    "project": project_field(deployments.c.caller),
    "deployed_by": Words(principal_of(deployments)),
    "label": DEPLOYMENT_LABELS,
    "id": number_field(deployments.c.id),
    "server_program": boolean_field(deployments.c.version.is_not(None), "server_program"),
    "version": number_field(deployments.c.version),
    "deployed_at": time_field(deployments.c.deployed_at),
}
_BY_ID: Final = (
    label_path(deployment_labels.c.deployment_id),
    owner_path(deployments.c.id, by=deployments.c.name, is_ranged=False),
    Path(
        (deployments.c.id,),
        conditions=(IS_VERSION,),
        equal="server_program",
        owner=deployments.c.caller,
        values=(True,),
    ),
    owner_path(deployments.c.id),
)
_DEPLOYMENTS: Final = ScannedList(
    deployments.c.id,
    "deployments",
    {
        "id": Order(_BY_ID, of_all=[whole_path(deployments.c.id)]),
        "name": present_order(deployments.c.name, deployments.c.id, after=_BY_ID),
    },
    {"label.": "label.KEY"},
)


def list_page(
    db: Database,
    caller: Visibility | str,
    page_size: int = 0,
    page_token: str = "",
    filter: str = "",
    order_by: str = "",
) -> Page[Deployment]:
    """Return a page of the deployments that a caller sees, by default the newest first.

    `order_by` is id or name.

    As with jobs, a page may be short or empty and have a token of the next page.

    Raises:
        InvalidArgument: bad filter, page token or order.
    """
    terms = filter_terms(filter, _FIELDS)
    visible = Visibility.of(caller)
    scan = Scan(_DEPLOYMENTS, chosen_owners(visible, terms, filter), terms, order_by)
    cursor = Cursor(("deployments", visible.caller, filter, order_by), page_size, page_token)
    return read_page(db, scan, cursor, _SELECT_ROWS, _row_size, messages)


def _row_size(row: Row) -> int:
    return int(row.size) + _OVERHEAD_BYTES
