"""`python -m lthray` and the `lthray` command."""

import sys

from lthray.cli import main

if __name__ == "__main__":
    sys.exit(main())
