"""The only program of the enclave image. The manifest fixes its arguments, so they are measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from coterie.kinds import TeeKind

DIRECT: Final = "direct"


def main(arguments: list[str], *, root: Path = Path("/")) -> int:
    """Starts the node that the host's inputs name.

    Args:
        arguments: None; or ``direct`` if the manifest is for ``gramine-direct``. That proves
            nothing, and admits contracts with the simulated TEE.
        root: Root of the file tree.

    Returns:
        The process's exit code, as in ``coterie.errors``.
    """
    return run(("sgx", "simulated") if arguments == [DIRECT] else ("sgx",), root)


def run(kinds: tuple[TeeKind, ...], root: Path) -> int:
    """Starts the node that the host's inputs name, in this process.

    Args:
        kinds: The kinds of TEE whose contracts the image runs.
        root: Root of the file tree.

    Returns:
        The process's exit code.
    """
    # Keras and TensorFlow write below the home folder and read the environment. The manifest fixes
    # both; these two settings only keep banners out of the log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from coterie import tensorflow_settings
    from coterie.enclave.starting import start_from_inputs
    from coterie.errors import CoterieError, EnvironmentUnfit
    from coterie.private_memory import keep_memory_private

    # Threads are set from the contract later; a program of others sets its own.
    tensorflow_settings.withdraw()
    try:
        keep_memory_private()
    except EnvironmentUnfit as error:
        # A library OS may lack these calls; the TEE gives the same protection anyway.
        sys.stderr.write(f"warning: {error}\n")
    try:
        start_from_inputs(root, kinds)
    except CoterieError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
