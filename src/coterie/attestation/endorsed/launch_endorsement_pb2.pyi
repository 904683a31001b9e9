from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedEndorsement(_message.Message):
    __slots__ = ("statement", "signature")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    statement: bytes
    signature: bytes
    def __init__(self, statement: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Time(_message.Message):
    __slots__ = ("seconds", "nanos")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    nanos: int
    def __init__(self, seconds: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...

class Statement(_message.Message):
    __slots__ = ("issued", "changelist", "commit", "certificate", "firmware_sha384", "issuers", "snp", "tdx")
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    CHANGELIST_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    FIRMWARE_SHA384_FIELD_NUMBER: _ClassVar[int]
    ISSUERS_FIELD_NUMBER: _ClassVar[int]
    SNP_FIELD_NUMBER: _ClassVar[int]
    TDX_FIELD_NUMBER: _ClassVar[int]
    issued: Time
    changelist: int
    commit: bytes
    certificate: bytes
    firmware_sha384: bytes
    issuers: bytes
    snp: SnpFirmware
    tdx: TdxFirmware
    def __init__(self, issued: _Optional[_Union[Time, _Mapping]] = ..., changelist: _Optional[int] = ..., commit: _Optional[bytes] = ..., certificate: _Optional[bytes] = ..., firmware_sha384: _Optional[bytes] = ..., issuers: _Optional[bytes] = ..., snp: _Optional[_Union[SnpFirmware, _Mapping]] = ..., tdx: _Optional[_Union[TdxFirmware, _Mapping]] = ...) -> None: ...

class SnpFirmware(_message.Message):
    __slots__ = ("svn", "measurements")
    class Measured(_message.Message):
        __slots__ = ("vcpus", "measurement")
        VCPUS_FIELD_NUMBER: _ClassVar[int]
        MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
        vcpus: int
        measurement: bytes
        def __init__(self, vcpus: _Optional[int] = ..., measurement: _Optional[bytes] = ...) -> None: ...
    SVN_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    svn: int
    measurements: _containers.RepeatedCompositeFieldContainer[SnpFirmware.Measured]
    def __init__(self, svn: _Optional[int] = ..., measurements: _Optional[_Iterable[_Union[SnpFirmware.Measured, _Mapping]]] = ...) -> None: ...

class TdxFirmware(_message.Message):
    __slots__ = ("svn", "measurements")
    class Measured(_message.Message):
        __slots__ = ("ram_gib", "early_accept", "mrtd")
        RAM_GIB_FIELD_NUMBER: _ClassVar[int]
        EARLY_ACCEPT_FIELD_NUMBER: _ClassVar[int]
        MRTD_FIELD_NUMBER: _ClassVar[int]
        ram_gib: int
        early_accept: bool
        mrtd: bytes
        def __init__(self, ram_gib: _Optional[int] = ..., early_accept: _Optional[bool] = ..., mrtd: _Optional[bytes] = ...) -> None: ...
    SVN_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    svn: int
    measurements: _containers.RepeatedCompositeFieldContainer[TdxFirmware.Measured]
    def __init__(self, svn: _Optional[int] = ..., measurements: _Optional[_Iterable[_Union[TdxFirmware.Measured, _Mapping]]] = ...) -> None: ...
