"""Builds the native libraries with the package, where a C compiler is and what each library needs."""

from __future__ import annotations

import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = Path(__file__).parent / "src"


class NativeLibraries(BuildHookInterface):  # type: ignore[misc]
    """Builds each library into the package; without one everything else installs, and this says why."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Runs before the wheel is put together."""
        sys.path.insert(0, str(_SOURCE))
        from coterie.errors import EnvironmentUnfit
        from coterie.plane.building import KERNEL_LIBRARY
        from coterie.tensorflow.building import NATIVE_PART

        artifacts = []
        for library in (KERNEL_LIBRARY, NATIVE_PART):
            try:
                built = library.build()
            except EnvironmentUnfit as error:
                self.app.display_warning(f"without {library.title}: {error}")
                continue
            artifacts.append(built.relative_to(_SOURCE.parent).as_posix())
        if artifacts and version != "editable":
            build_data["artifacts"] = artifacts
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
