"""`python -m auflow`: the same as the command `auflow`."""

import sys

from auflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
