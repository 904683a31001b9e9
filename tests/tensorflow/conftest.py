"""The native part, built before anything that needs it; where it cannot be, tests are skipped and say why."""

from __future__ import annotations

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.tensorflow.building import NATIVE_PART


@pytest.fixture(scope="session")
def native_part() -> None:
    try:
        NATIVE_PART.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))
