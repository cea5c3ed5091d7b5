"""Threads that share NumPy's work, in a process that forks."""

import os
import subprocess
import sys

import pytest

FORKED = """
import os, signal, sys, warnings
import numpy as np
from xpnet import Network, Runtime
from xpnet.kernels.sharing import parallel_map
from xpnet.layers import Conv2D, Dense, Flatten
warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads
Runtime(threads=2).configure()
network = Network([Conv2D(16, 3), Flatten(), Dense(3)], (28, 28, 1))
x = np.random.default_rng(0).normal(size=(250, 28, 28, 1)).astype(np.float32)

def computed():
    squares = parallel_map(lambda n: n * n, range(9), 1e9)
    return squares, network(x).tolist()

expected = computed()
child = os.fork()
if child == 0:
    signal.alarm(30)  # a child that hangs is ended
    os._exit(0 if computed() == expected else 1)
_, status = os.waitpid(child, 0)
assert computed() == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_shares_work_among_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=90)
