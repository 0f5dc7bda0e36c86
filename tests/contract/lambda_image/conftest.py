"""What the tests of the handler share."""

from __future__ import annotations

import pytest

from tests.support.minors import VENVS


@pytest.fixture(scope="module", params=list(VENVS))
def minor(request: pytest.FixtureRequest) -> str:
    """Every supported minor version of Airflow."""
    version: str = request.param
    return version
