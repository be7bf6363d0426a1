# SPDX-License-Identifier: Apache-2.0
"""ResultService: return the results of jobs."""

from __future__ import annotations

from qonduit.v1.result_service_pb2 import (
    GetResultRequest,
    GetResultResponse,
    ListResultsRequest,
    ListResultsResponse,
    ReadBufferRequest,
)
from qonduit_server.rpc.buffer_streams import BufferStreams
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.store.database import Database
from qonduit_server.store.results import result_rows


class ResultService:
    """Reads results; the store limits the size of a page."""

    def __init__(self, db: Database, readings: BufferStreams) -> None:
        self._db = db
        self._readings = readings

    def get_result(self, request: GetResultRequest, call: CallContext) -> GetResultResponse:
        """Return one result."""
        return GetResultResponse(result=result_rows.get(self._db, call.scope, request.id))

    def list_results(self, request: ListResultsRequest, call: CallContext) -> ListResultsResponse:
        """Return a page of a job's results."""
        call.job_id = request.job_id
        of = result_rows.ResultRange(
            request.program_index if request.HasField("program_index") else None, request.first_point, request.end_point
        )
        page = result_rows.list_page(self._db, call.scope, request.job_id, request.page_size, request.page_token, of)
        return ListResultsResponse(results=page.items, next_page_token=page.next_page_token)

    def read_buffer(self, request: ReadBufferRequest, call: CallContext, stream: Stream) -> None:
        """Stream a buffer's bytes from an offset."""
        self._readings.open(stream, request, call.scope)
