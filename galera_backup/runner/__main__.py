"""Entry point of the agent container: `python3 -m galera_backup.runner`."""

import os
import sys

from galera_backup.runner.agent import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
