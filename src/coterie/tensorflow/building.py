"""What the native part of ``coterie tensorflow`` is built from: C, with OpenSSL's AES-GCM.

It is in the package's folder, so that it is part of the measurement of nodes that load it.
"""

from __future__ import annotations

from pathlib import Path

from coterie.native_library import NativeLibrary

_FOLDER = Path(__file__).parent / "native"


def _files(*names: str) -> tuple[Path, ...]:
    return tuple(_FOLDER / name for name in names)


NATIVE_PART = NativeLibrary(
    title="the native part of `coterie tensorflow`",
    path=_FOLDER / "libattested_sockets.so",
    sources=_files(
        "records.c", "secret_memory.c", "real_calls.c", "links.c", "sockets.c", "interface.c"
    ),
    headers=_files(
        "records.h", "secret_memory.h", "real_calls.h", "links.h", "sockets.h", "failing.h"
    ),
    without="everything else of Coterie works without",
    build_command="coterie tensorflow build",
    needs="a C compiler and OpenSSL's headers (Debian: gcc and libssl-dev)",
    link=("-lcrypto", "-lpthread", "-ldl"),
    probe="#include <openssl/evp.h>\n"
    "#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error old\n#endif\n"
    "int main(void) { return EVP_aes_128_gcm() == 0; }\n",
    probe_needs="OpenSSL's headers and library, 3.0 or newer",
)
