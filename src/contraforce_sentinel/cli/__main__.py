"""`python -m contraforce_sentinel.cli`: the tool without its installed script."""

import sys

from contraforce_sentinel.cli import main

if __name__ == "__main__":
    sys.exit(main())
