"""Measure speed beside other libraries; see --help."""

import sys

from xpnet.cli.benchmark import main

sys.exit(main())
