"""The two roots of trust, each with the certificate names that its roles must carry.

A verifier gets exactly one of them, by the contract's ``trust.tee``. The simulated root is never
accepted together with Intel's.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

# Intel SGX Root CA (public), as published at
# https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer;
# SHA-256 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3. An earlier certificate of the
# same name, serial number and key ends in 2033 (SHA-256 fc64f807...) and occurs in quotes:
# chains.py accepts both.
_INTEL_ROOT = """
MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIwaDEaMBgGA1UEAwwRSW50ZWwgU0dY
IFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwC
Q0ExCzAJBgNVBAYTAlVTMB4XDTE4MDUyMTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgGA1UEAwwRSW50ZWwgU0dY
IFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwC
Q0ExCzAJBgNVBAYTAlVTMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGj
bnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlKOBuzCBuDAfBgNVHSMEGDAWgBQiZQzWWp00ifODtJVS
v1AbOScGrDBSBgNVHR8ESzBJMEegRaBDhkFodHRwczovL2NlcnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50ZWwu
Y29tL0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInzg7SVUr9QGzknBqwwDgYDVR0PAQH/BAQDAgEG
MBIGA1UdEwEB/wQIMAYBAf8CAQEwCgYIKoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9CiSDcNoowLuPRLsWGf/Yi7GSX94Bg
wTwgAiEA4J0lrHoMs+Xo5o/sX6O9QWxHRAvZUGOdRQ7cvqRXaqI=
"""


@dataclass(frozen=True)
class RoleNames:
    """Subject names that certificates must carry in their roles.

    Attributes:
        organization: Organization of every subject.
        root: Common name of the root.
        pck_cas: Common names of the CAs that issue PCK certificates.
        pck: Common name of a PCK certificate.
        tcb_signer: Common name of the signer of TCB info and QE identity.
    """

    organization: str
    root: str
    pck_cas: tuple[str, ...]
    pck: str
    tcb_signer: str


@dataclass(frozen=True)
class TrustRoot:
    """One vendor's root.

    Attributes:
        vendor: The vendor's name, for people.
        simulated: Whether it proves nothing.
        certificate: The self-signed root certificate, DER: it names the anchor's name and key.
        names: Names of the roles under it.
    """

    vendor: str
    simulated: bool
    certificate: bytes
    names: RoleNames


INTEL_NAMES = RoleNames(
    organization="Intel Corporation",
    root="Intel SGX Root CA",
    pck_cas=("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"),
    pck="Intel SGX PCK Certificate",
    tcb_signer="Intel SGX TCB Signing",
)
SIMULATED_NAMES = RoleNames(
    organization="Coterie Simulation (insecure by design)",
    root="Coterie Simulated Root CA",
    pck_cas=("Coterie Simulated PCK Platform CA", "Coterie Simulated PCK Processor CA"),
    pck="Coterie Simulated PCK Certificate",
    tcb_signer="Coterie Simulated TCB Signing",
)
INTEL_ROOT = TrustRoot(
    vendor="Intel",
    simulated=False,
    certificate=base64.b64decode(_INTEL_ROOT),
    names=INTEL_NAMES,
)
