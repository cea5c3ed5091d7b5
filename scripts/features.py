"""Show what a layer makes of an image; see --help."""

import sys

from xpnet.cli.features import main

sys.exit(main())
