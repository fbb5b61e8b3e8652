"""Results that several test files share."""

import pytest
from grids import REWORDED, first_right, results_of, write_grid

from rewardgap.reporting.results import Results


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return results whose outcome is known: implicit models lose 26 of 40 records reworded."""
    return results_of(write_grid(tmp_path_factory.mktemp("grid"), REWORDED, first_right))
