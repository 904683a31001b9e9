"""Settings that gRPC reads from the environment only, once, when it is loaded.

gRPC offers TLS 1.2 beside 1.3, and grpcio has no option against it. But its list of cipher suites is one for
TLS 1.2 alone, those of 1.3 are always on (BoringSSL, ssl.h, "Cipher suites"). With a list of suites that only
servers with RSA keys can use, no node can speak TLS 1.2: their keys are on P-256. This imports nothing heavy,
since every command does.
"""

from __future__ import annotations

import os
import sys

SUITES = "GRPC_SSL_CIPHER_SUITES"
FOR_RSA_ONLY = "ECDHE-RSA-AES128-GCM-SHA256"

_in_force = True


def prepare() -> None:
    """Sets them, whatever the host has set; called when the package is imported."""
    global _in_force  # noqa: PLW0603 (it is this process's gRPC)
    if "grpc._cython.cygrpc" in sys.modules and os.environ.get(SUITES) != FOR_RSA_ONLY:
        _in_force = False
    os.environ[SUITES] = FOR_RSA_ONLY


def check() -> None:
    """Checks that gRPC was loaded after they were set; without that, no port is opened.

    Raises:
        EnvironmentUnfit: It was loaded before.
    """
    if not _in_force:
        from coterie.errors import EnvironmentUnfit

        raise EnvironmentUnfit(
            "gRPC would accept TLS 1.2 in this process",
            expected="coterie imported before grpc",
            seen="grpc was imported first",
            remedy=f"import coterie first, or start the process with {SUITES}={FOR_RSA_ONLY}",
        )
