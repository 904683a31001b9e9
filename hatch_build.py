"""Builds the native part of `coterie tensorflow` with the package, where a C compiler and OpenSSL's headers are."""

from __future__ import annotations

import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = Path(__file__).parent / "src"


class NativePart(BuildHookInterface):  # type: ignore[misc]
    """Builds the library into the package; without it everything else installs, and this says why."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Runs before the wheel is put together."""
        sys.path.insert(0, str(_SOURCE))
        from coterie.errors import EnvironmentUnfit
        from coterie.tensorflow.building import build

        try:
            library = build()
        except EnvironmentUnfit as error:
            self.app.display_warning(f"without the native part of `coterie tensorflow`: {error}")
            return
        if version != "editable":
            build_data["artifacts"] = [library.relative_to(_SOURCE.parent).as_posix()]
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
