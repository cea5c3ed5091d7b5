"""Check every gradient against finite differences; see --help."""

import sys

from xpnet.cli.gradcheck import main

sys.exit(main())
