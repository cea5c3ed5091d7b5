"""Train a network; see --help."""

import sys

from xpnet.cli.train import main

sys.exit(main())
