"""The SGX extension of a PCK certificate (OID 1.2.840.113741.1.13.1), encoded for simulated ones.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, 1.3.5.
"""

from __future__ import annotations

from coterie.attestation.der import tlv
from coterie.attestation.tee.simulated.der import integer

SGX_EXTENSION_OID = "1.2.840.113741.1.13.1"

_BOOLEAN, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x01, 0x04, 0x06, 0x0A, 0x30


def sgx_extension(
    *,
    ppid: bytes,
    cpu_svn: bytes,
    pce_svn: int,
    pce_id: bytes,
    fmspc: bytes,
    configuration: tuple[bool, bool, bool] | None = None,
) -> bytes:
    """Encodes the extension's value in DER.

    Args:
        ppid: Provisioning id of the platform, 16 bytes.
        cpu_svn: Security version of the processor, 16 bytes.
        pce_svn: Security version of the provisioning certification enclave.
        pce_id: Id of that enclave, 2 bytes.
        fmspc: Family, model, stepping, platform and custom SKU, 6 bytes.
        configuration: Whether the platform is dynamic, its keys are cached and SMT is on; None as in
            certificates of the processor CA, which do not say.
    """
    components = [_entry((2, i + 1), integer(svn)) for i, svn in enumerate(cpu_svn)]
    tcb = [*components, _entry((2, 17), integer(pce_svn)), _entry((2, 18), tlv(_OCTETS, cpu_svn))]
    flags = [
        _entry((7, i + 1), tlv(_BOOLEAN, b"\xff" if flag else b"\0"))
        for i, flag in enumerate(configuration or ())
    ]
    return tlv(
        _SEQUENCE,
        _entry((1,), tlv(_OCTETS, ppid)),
        _entry((2,), tlv(_SEQUENCE, *tcb)),
        _entry((3,), tlv(_OCTETS, pce_id)),
        _entry((4,), tlv(_OCTETS, fmspc)),
        _entry((5,), tlv(_ENUMERATED, b"\0")),
        *([_entry((7,), tlv(_SEQUENCE, *flags))] if flags else []),
    )


def _entry(arc: tuple[int, ...], value: bytes) -> bytes:
    # 1.2.840.113741.1.13.1 in DER; the arcs below it are all smaller than 128.
    oid = bytes.fromhex("2a864886f84d010d01") + bytes(arc)
    return tlv(_SEQUENCE, tlv(_OID, oid), value)
