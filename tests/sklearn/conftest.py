"""scikit-learn's warnings about short trainings are not what these tests are about."""

import pytest

pytest.importorskip("sklearn", "1.9")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/sklearn" in str(item.path.as_posix()):
            for ignored in (
                "ignore::sklearn.exceptions.ConvergenceWarning",
                "ignore::sklearn.exceptions.DataConversionWarning",
                "ignore::sklearn.exceptions.SkipTestWarning",
                "ignore:batch_size",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored), append=False)
