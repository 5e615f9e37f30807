"""The command `galera-backup`: all starters under one name."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from galera_backup import __version__
from starters import schedule
from starters._exit import EXIT_CODES, ExitCode, Failure
from starters._screen import Screen
from starters.answers import approve, decide, reject
from starters.backup import backup
from starters.check import check
from starters.janitor import janitor
from starters.list import list_backups
from starters.restore import restore
from starters.rollback import rollback
from starters.search_attributes import search_attributes
from starters.status import status

app = typer.Typer(
    name="galera-backup",
    no_args_is_help=True,
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    help="Durable backup and restore of MariaDB Galera clusters in Kubernetes.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Settings are environment variables GALERA_BACKUP_*; Temporal's own are TEMPORAL_*.")
def worker() -> None:
    """Run a worker until SIGTERM or SIGINT, then drain it."""
    import worker as process  # noqa: PLC0415 - it loads both client libraries, which no other command needs

    process.main()


app.command("backup", epilog=EXIT_CODES)(backup)
app.command("restore", epilog=EXIT_CODES)(restore)
app.command("rollback", epilog=EXIT_CODES)(rollback)
app.command("approve", epilog=EXIT_CODES)(approve)
app.command("reject", epilog=EXIT_CODES)(reject)
app.command("decide", epilog=EXIT_CODES)(decide)
app.command("check", epilog=EXIT_CODES)(check)
app.command("list", epilog=EXIT_CODES)(list_backups)
app.command("status", epilog=EXIT_CODES)(status)
app.command("janitor", epilog=EXIT_CODES)(janitor)
app.add_typer(schedule.app, name="schedule")
app.command("search-attributes", epilog=EXIT_CODES)(search_attributes)


def main() -> NoReturn:
    """Run the command line and end the process."""
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the SDK's threads abort the interpreter's own clean-up now and then (sdk-python#300)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code. What the parser refuses gets its JSON document here: no command has seen it."""
    try:
        app(arguments, prog_name="galera-backup")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else ExitCode.FAILED
        by_parser = not isinstance(code, ExitCode)
        if by_parser and code and "--json" in arguments:
            message = "the arguments are wrong; what is wrong with them is on stderr"
            Screen(as_json=True).answer({"error": Failure(type="InvalidInput", message=message, exit_code=code)})
        return code
    return ExitCode.OK


if __name__ == "__main__":
    main()
