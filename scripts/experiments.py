"""Repeat the published experiments; see --help."""

import sys

from xpnet.cli.experiments import main

sys.exit(main())
