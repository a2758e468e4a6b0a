"""`python -m operators_tool`: the tool without its installed script."""

import sys

from operators_tool import main

if __name__ == "__main__":
    sys.exit(main())
