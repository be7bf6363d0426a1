from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureCategory(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_CATEGORY_UNSPECIFIED: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_PROGRAM: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_DEVICE: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_LIMIT: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_PROVIDER: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_WORKER: _ClassVar[FailureCategory]
    FAILURE_CATEGORY_INTERNAL: _ClassVar[FailureCategory]
FAILURE_CATEGORY_UNSPECIFIED: FailureCategory
FAILURE_CATEGORY_PROGRAM: FailureCategory
FAILURE_CATEGORY_DEVICE: FailureCategory
FAILURE_CATEGORY_LIMIT: FailureCategory
FAILURE_CATEGORY_PROVIDER: FailureCategory
FAILURE_CATEGORY_WORKER: FailureCategory
FAILURE_CATEGORY_INTERNAL: FailureCategory

class Failure(_message.Message):
    __slots__ = ("category", "reason", "message", "retryable", "provider_code", "line", "column")
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CODE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    category: FailureCategory
    reason: str
    message: str
    retryable: bool
    provider_code: str
    line: int
    column: int
    def __init__(self, category: _Optional[_Union[FailureCategory, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ..., provider_code: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...
