from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SamplerOptions(_message.Message):
    __slots__ = ("per_shot", "exact")
    PER_SHOT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    per_shot: bool
    exact: bool
    def __init__(self, per_shot: _Optional[bool] = ..., exact: _Optional[bool] = ...) -> None: ...
