"""Compare optimizers; see --help."""

import sys

from xpnet.cli.compare_optimizers import main

sys.exit(main())
