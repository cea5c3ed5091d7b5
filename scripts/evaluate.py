"""Test a trained network; see --help."""

import sys

from xpnet.cli.evaluate import main

sys.exit(main())
