"""The one program of the enclave image; its arguments are fixed by the manifest, and so measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

DIRECT: Final = "direct"


def main(arguments: list[str], *, root: Path = Path("/")) -> int:
    """Starts the node that the host's inputs name.

    Args:
        arguments: Nothing; or ``direct`` where the manifest is for ``gramine-direct``, which proves
            nothing, so that contracts with the simulated TEE may be tried.
        root: Root of the file tree.

    Returns:
        The process's exit code, as in ``coterie.errors``.
    """
    # Keras and TensorFlow write below the home folder and read the environment; the manifest fixes
    # all of it, and these two keep banners out of the log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from coterie import tensorflow_settings
    from coterie.enclave.starting import start_from_inputs
    from coterie.errors import CoterieError, EnvironmentUnfit
    from coterie.private_memory import keep_memory_private

    tensorflow_settings.withdraw()  # a node has its contract first, and a program of others its own threads
    try:
        keep_memory_private()
    except EnvironmentUnfit as error:
        # A library OS may not know these calls, and what they keep out the enclave keeps out anyway.
        sys.stderr.write(f"warning: {error}\n")
    try:
        start_from_inputs(root, direct=arguments == [DIRECT])
    except CoterieError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
