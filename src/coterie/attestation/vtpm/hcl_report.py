"""Azure's HCL report: the paravisor's runtime data, and the hardware's report that binds them.

The paravisor (OpenHCL) writes it to the vTPM's NV index 0x01400001. It has a header, room for a
hardware report, and data with the TPM's attestation key, of which the hardware report holds the
SHA-256. For SEV-SNP the hardware report is a signed one. For TDX it is a TDREPORT, which only the
platform's own quoting enclave can verify; what binds the data then is the TD quote made from it.

Source: Microsoft, "Guest attestation for confidential VMs: design details", and OpenHCL's
`openhcl_attestation_protocol` (igvm_attest).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from coterie.attestation.vtpm.runtime_data import MAX_RUNTIME_BYTES
from coterie.errors import EvidenceRefused

MAX_HCL_REPORT_BYTES = 1 << 13
SNP_REPORT_BYTES = 1184
TDREPORT_BYTES = 1024
_HEADER = struct.Struct("<4s7I")
_DATA = struct.Struct("<5I")
_SIGNATURE = b"HCLA"
_VERSIONS = (1, 2)
_ATTESTATION = 2  # type of the request
_DATA_VERSION, _SHA256 = 1, 1
_REPORT_BYTES = {2: SNP_REPORT_BYTES, 4: TDREPORT_BYTES}  # by type: SEV-SNP, TDX

_refused = partial(
    EvidenceRefused,
    "hcl_report_format",
    "the HCL report is malformed",
    remedy="read it from NV index 0x01400001 of the virtual TPM of an Azure confidential VM",
)


@dataclass(frozen=True)
class HclReport:
    """What the NV index holds.

    Attributes:
        hardware_report: The SNP report (1,184 bytes), or the TDREPORT (1,024 bytes).
        is_tdx: Whether it is the latter.
        runtime: The runtime data, JSON; the hardware report's data begin with their SHA-256.
    """

    hardware_report: bytes
    is_tdx: bool
    runtime: bytes

    @classmethod
    def parse(cls, data: bytes) -> HclReport:
        """Reads it.

        Args:
            data: The NV index's bytes, with NUL padding behind the report or not.

        Raises:
            EvidenceRefused: They are not such a report (check ``hcl_report_format``).
        """
        if not _HEADER.size + SNP_REPORT_BYTES + _DATA.size <= len(data) <= MAX_HCL_REPORT_BYTES:
            raise _refused(f"at most {MAX_HCL_REPORT_BYTES} bytes", f"{len(data)} bytes")
        signature, version, size, request, status, *reserved = _HEADER.unpack_from(data)
        if signature != _SIGNATURE or version not in _VERSIONS:
            raise _refused("HCLA, version 1 or 2", f"{signature.hex()}, version {version}")
        if (request, status, any(reserved)) != (_ATTESTATION, 0, False):
            raise _refused("the answer to a request of type 2", f"type {request}, status {status}")
        start = _HEADER.size + SNP_REPORT_BYTES
        length, data_version, kind, hashed, runtime_length = _DATA.unpack_from(data, start)
        if kind not in _REPORT_BYTES:
            raise _refused("a report of SEV-SNP (2) or TDX (4)", f"type {kind}")
        if (data_version, hashed) != (_DATA_VERSION, _SHA256):
            raise _refused(
                "data of version 1, hashed with SHA-256", f"version {data_version}, hash {hashed}"
            )
        start += _DATA.size
        end = start + runtime_length
        lengths = (size, length)
        if lengths != (end, _DATA.size + runtime_length) or end > len(data):
            raise _refused("lengths that add up", f"{size}, {length} and {runtime_length} bytes")
        if runtime_length > MAX_RUNTIME_BYTES:
            raise _refused(f"at most {MAX_RUNTIME_BYTES} bytes of data", f"{runtime_length} bytes")
        room = data[_HEADER.size : _HEADER.size + SNP_REPORT_BYTES]
        report_bytes = _REPORT_BYTES[kind]
        if any(room[report_bytes:]) or any(data[end:]):
            raise _refused("nothing but NUL padding beside the report", "other bytes")
        return cls(room[:report_bytes], kind == 4, data[start:end])
