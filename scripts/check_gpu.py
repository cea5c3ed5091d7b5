"""Check xpnet on a GPU; see --help."""

import sys

from xpnet.cli.check_gpu import main

sys.exit(main())
