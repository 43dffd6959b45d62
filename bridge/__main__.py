"""`python -m bridge`: the same as the command `hookmq`."""

import sys

from bridge.cli import main

sys.exit(main())
