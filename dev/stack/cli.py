"""Command lines of dev/up, dev/down, dev/env, dev/status, dev/logs and dev/image."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from dev.stack import cluster, console, images, lifecycle, paths, processes, settings, status
from dev.stack.console import StackError


def _run(command: Callable[[], int | None]) -> int:
    try:
        return command() or 0
    except StackError as error:
        console.show(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in lifecycle.PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(lifecycle.PARTS)}")
    return names


def up() -> int:
    parser = argparse.ArgumentParser(prog="dev/up", description="Bring the local stack up, or what is missing of it.")
    parser.add_argument("--data-size", metavar="SIZE", help=f"size of the sample data ({settings.DATA_SIZE})")
    parser.add_argument(
        "--data-volume-size",
        type=int,
        default=settings.DATA_VOLUME_GIB,
        metavar="GIB",
        help="size of each data volume when it is made (%(default)s)",
    )
    parser.add_argument(
        "--backup-volume-size",
        type=int,
        default=settings.BACKUP_VOLUME_GIB,
        metavar="GIB",
        help="size of the backup volume when it is made (%(default)s)",
    )
    parser.add_argument("--only", type=_names, metavar="NAME[,NAME]", help="start only these parts")
    arguments = parser.parse_args()
    if arguments.only:
        return _run(lambda: lifecycle.up_only(arguments.only))
    return _run(lambda: lifecycle.up(arguments.data_size, arguments.data_volume_size, arguments.backup_volume_size))


def down() -> int:
    parser = argparse.ArgumentParser(prog="dev/down", description="Stop the local stack and remove what it made.")
    parser.add_argument("--purge", action="store_true", help="remove its data too (builds stay)")
    parser.add_argument("--only", type=_names, metavar="NAME[,NAME]", help="stop only these parts")
    parser.add_argument("--kill", action="store_true", help="with --only: SIGKILL")
    arguments = parser.parse_args()
    if arguments.kill and not arguments.only:
        parser.error("--kill needs --only")
    if arguments.only:
        return _run(lambda: lifecycle.down_only(arguments.only, kill=arguments.kill))
    return _run(lambda: lifecycle.down(purge=arguments.purge))


def environment() -> dict[str, str]:
    """What a shell or a test needs to use the stack."""
    return {
        "KUBECONFIG": str(paths.KUBECONFIG),
        "TEMPORAL_ADDRESS": settings.TEMPORAL_ADDRESS,
        "GALERA_BACKUP_AGENT_IMAGE": images.agent().reference,
    }


def env() -> int:
    parser = argparse.ArgumentParser(prog="dev/env", description='Print shell exports: eval "$(dev/env)".')
    parser.parse_args()

    def print_exports() -> None:
        for name, value in environment().items():
            print(f"export {name}={shlex.quote(value)}")
        if str(paths.BIN) not in os.environ.get("PATH", "").split(":"):
            print(f'export PATH={shlex.quote(str(paths.BIN))}:"$PATH"')

    return _run(print_exports)


def show_status() -> int:
    parser = argparse.ArgumentParser(prog="dev/status", description="Show what runs; exit 1 unless all of it does.")
    parser.parse_args()
    return _run(lambda: 0 if status.show() else 1)


def logs() -> int:
    parser = argparse.ArgumentParser(prog="dev/logs", description="Show the log of a part, a build or a database pod.")
    parser.add_argument("name", nargs="?", help="part, build-NAME or pod; none: list them")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    parser.add_argument("-n", "--lines", type=int, default=100, help="how many lines (%(default)s)")
    arguments = parser.parse_args()
    return _run(lambda: _logs(arguments.name, arguments.follow, arguments.lines))


def _logs(name: str | None, follow: bool, lines: int) -> int:
    if name is None:
        print("\n".join(sorted(path.stem for path in paths.LOGS.glob("*.log"))))
        return 0
    if name.startswith(f"{settings.STATEFULSET}-") and processes.running("kube-apiserver"):
        return cluster.logs(name, follow, lines)
    path = paths.LOGS / f"{name}.log"
    if not path.exists():
        raise StackError(name, f"no log {path}; dev/logs without a name lists them")
    return subprocess.run(["tail", f"--lines={lines}", *(["--follow"] if follow else []), path], check=False).returncode


def image() -> int:
    parser = argparse.ArgumentParser(
        prog="dev/image", description="Build the agent's image from this checkout and print its reference."
    )
    parser.add_argument("--archive", type=Path, metavar="PATH", help="write it as an OCI archive")
    parser.add_argument("--load", action="store_true", help="load it into the running stack")
    arguments = parser.parse_args()
    return _run(lambda: _image(arguments.archive, arguments.load))


def _image(archive: Path | None, load: bool) -> None:
    built = images.agent()
    if archive is not None:
        new = archive.with_name(f".{archive.name}.{os.getpid()}.new")
        try:
            with new.open("wb") as output:
                built.write(output)
            new.replace(archive)
        finally:
            new.unlink(missing_ok=True)
    if load:
        images.ensure_loaded(built)
    print(built.reference)
