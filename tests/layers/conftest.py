import pytest

from xpnet.layers.examples import EXAMPLES, Example


@pytest.fixture(params=EXAMPLES, ids=lambda example: type(example.layer).__name__)
def example(request: pytest.FixtureRequest) -> Example:
    """Each layer in turn."""
    return request.param
