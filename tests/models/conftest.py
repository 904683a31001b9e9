from __future__ import annotations

import pytest

from coterie.models.backend import configure_tensorflow


@pytest.fixture(scope="session", autouse=True)
def tensorflow_of_one_thread() -> None:
    """TensorFlow's settings hold for a whole process: all tests share one thread."""
    configure_tensorflow(1)
