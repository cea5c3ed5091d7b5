import sys

import pytest

from tests.reliability.long_run import follow, slope


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat():
    """The short form of ``python -m tests.reliability.long_run``: to keep one θ in each step would cost 25 kB."""
    samples = follow("--model", "mlp", "--hidden", "8", "--iterations", "2500", "--batch-size", "16", "--limit", "2000")
    assert len(samples) >= 20
    growth, _ = slope(samples[5:])
    assert growth < 2500
