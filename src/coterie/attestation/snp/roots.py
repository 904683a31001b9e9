"""The roots of AMD's product lines, by the digests of their keys.

Evidence brings the root's certificate along, as DCAP quotes do, and it counts if its key is the one
named here. So a root that is certified anew under the same key stays the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AmdRoots:
    """The roots of one vendor's product lines.

    Attributes:
        vendor: The vendor's name, for people.
        simulated: Whether they prove nothing.
        organization: Organization of every subject.
        prefix: What common names have before AMD's own.
        keys: SHA-256 of the root's DER SubjectPublicKeyInfo, 32 bytes, by product line.
    """

    vendor: str
    simulated: bool
    organization: str
    prefix: str
    keys: Mapping[str, bytes]


SIMULATED_ORGANIZATION = "Coterie Simulation (insecure by design)"
SIMULATED_PREFIX = "Coterie Simulated "
# The AMD Root Keys (ARK). The certificates with these keys have the SHA-256 digests
# 69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd (ARK-Milan),
# 4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1 (ARK-Genoa),
# 1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a (ARK-Turin); AMD's key
# distribution service gives them under /vcek/v1/PRODUCT/cert_chain.
AMD_ROOTS = AmdRoots(
    vendor="AMD",
    simulated=False,
    organization="Advanced Micro Devices",
    prefix="",
    keys={
        "Milan": bytes.fromhex("9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
        "Genoa": bytes.fromhex("429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
        "Turin": bytes.fromhex("4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
    },
)
