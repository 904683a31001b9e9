"""Builds the native part, ``native/attested_sockets.c``, with a C compiler and OpenSSL's headers.

It is built when the package is installed (``hatch_build.py``) or by ``coterie tensorflow build``, into the
package's folder, so that it is part of the measurement of nodes that load it. The library contains
the digest of the source that it was built from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from coterie.errors import EnvironmentUnfit

SOURCE = Path(__file__).parent / "native" / "attested_sockets.c"
LIBRARY = SOURCE.with_name("libattested_sockets.so")
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-fstack-protector-strong")
_LINK = ("-shared", "-Wl,-z,relro,-z,now,-z,defs", "-lcrypto", "-lpthread", "-ldl")
_BUILD_SECONDS = 120


_unfit = partial(
    EnvironmentUnfit,
    "the native part of `coterie tensorflow` cannot be built",
    remedy="install a C compiler and OpenSSL's headers (Debian: gcc and libssl-dev), then run "
    "`coterie tensorflow build`; everything else of Coterie works without",
)


def source_digest() -> str:
    """SHA-256 of the native part's source, hex."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def compiler() -> str:
    """Path of a C compiler that finds OpenSSL's headers and library.

    Raises:
        EnvironmentUnfit: One of them is missing; the error says which.
    """
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise _unfit("a C compiler", "none of cc, gcc, clang")
    with tempfile.TemporaryDirectory(prefix="coterie-cc-") as scratch:
        probe = Path(scratch, "probe.c")
        probe.write_text(
            "#include <openssl/evp.h>\n#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error old\n#endif\n"
            "int main(void) { return EVP_aes_128_gcm() == 0; }\n"
        )
        tried = _run([found, str(probe), "-o", str(probe.with_suffix("")), "-lcrypto"])
    if tried.returncode:
        raise _unfit("OpenSSL's headers and library, 3.0 or newer", _last_words(tried.stderr))
    return found


def build() -> Path:
    """Builds the library, unless it exists and was built from this source.

    Returns:
        Its path.

    Raises:
        EnvironmentUnfit: The compiler or a header is missing, or the folder cannot be written.
    """
    mark = source_digest()
    if LIBRARY.exists() and mark.encode() in LIBRARY.read_bytes():
        return LIBRARY
    cc = compiler()
    try:
        handle, name = tempfile.mkstemp(dir=LIBRARY.parent, prefix=".building-", suffix=".so")
        os.close(handle)
    except OSError as error:
        raise _unfit(f"a folder to write to, {LIBRARY.parent}", error.strerror or "") from error
    partial = Path(name)
    try:
        made = _run([cc, *FLAGS, f'-DSOURCE_DIGEST="{mark}"', str(SOURCE), "-o", name, *_LINK])
        if made.returncode:
            raise _unfit("a compiler that builds the native part", _last_words(made.stderr))
        partial.chmod(0o755)
        partial.replace(LIBRARY)
    finally:
        partial.unlink(missing_ok=True)
    return LIBRARY


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines() or ["none"]
    return lines[0][:300]
