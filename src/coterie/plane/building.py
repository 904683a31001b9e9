"""What the native kernels are built from: C, without a library beside libc's."""

from __future__ import annotations

from pathlib import Path

from coterie.native_library import NativeLibrary

_FOLDER = Path(__file__).parent / "native"

KERNEL_LIBRARY = NativeLibrary(
    title="the native kernels of the exchange",
    path=_FOLDER / "libplane.so",
    sources=tuple(_FOLDER / name for name in ("sums.c", "rows.c", "zeros.c", "differences.c")),
    headers=(_FOLDER / "plane.h", _FOLDER / "masks.h"),
    without="everything works without, in NumPy",
    build_command="coterie doctor --build",
    # Neither flag lets a compiler change a result: no kernel reads errno or the processor's flags.
    flags=("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
