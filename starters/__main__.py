"""The console script `galera-backup`. A wheel has this file as `galera_backup/__main__.py`; a checkout runs it as
`python -m starters`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line. In an installed wheel `starters` and the other root packages are in `_app`."""
    app = Path(__file__).with_name("_app")
    if app.is_dir():
        sys.path.insert(0, str(app))
    from starters.cli import main as command_line  # noqa: PLC0415 - only now on the path

    command_line()


if __name__ == "__main__":
    main()
