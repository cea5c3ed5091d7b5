"""Search for good hyper-parameters; see --help."""

import sys

from xpnet.cli.search import main

sys.exit(main())
