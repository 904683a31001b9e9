"""Each of the paper's experiments on each kind of TEE, and what the chart makes of it."""

from __future__ import annotations

import pytest

from tests.deploy.rendering import EXPERIMENTS, Mode, Object, TeeName, paper_values, render


@pytest.fixture(params=EXPERIMENTS, ids="-".join)
def experiment(request: pytest.FixtureRequest) -> tuple[Mode, TeeName]:
    mode, tee = request.param
    return mode, tee


@pytest.fixture
def objects(experiment: tuple[Mode, TeeName]) -> list[Object]:
    return render(paper_values(*experiment))
