"""Names that the two containers of a runner pod, and the worker that builds the pod, agree on.

`mariadb` runs the image of the server (so the tools' version is the server's) and only needs `sh`, `mariadb-backup`,
`mbstream`, the coreutils and, for passwords and the identity of restored data, the server itself; `agent` runs our
image. They share the emptyDir WORK and meet in its FIFO.

The handshake, in files of WORK. The agent makes its checks first, and then the FIFO `stream`; the script waits for it,
or for `done`, which says that there is nothing (more) to do. What a tool answered is in a `*.status` file that the
shell writes after the tool has ended: the end of a stream alone proves nothing. Through the FIFO `alive`, which the
script holds open as long as it lives, the agent sees at once that the other container is gone. Names in WORK of one
part of the scripts alone are beside the code that works with it: `adopt`, `staged.passwords`.
"""

from __future__ import annotations

from galera_backup.models.site import BACKUP_ROOT

DATA_DIRECTORY = "/var/lib/mysql"
"""Where the agent sees the data volume; the mariadb container sees it where the server does (environment DATADIR)."""
VOLUME = "/var/lib/galera-backup/volume"
"""Where a pod that stages or swaps sees the whole data volume, in both containers: renames do not cross mounts."""
WORK = "/run/galera-backup"
CREDENTIALS = "/run/credentials"
"""In the mariadb container of a backup, and of the look before it: files `username` and `password`."""
ACCOUNTS = "/run/accounts"
"""In the mariadb container that stages: a directory with files `username` and `password` for each Secret."""
TERMINATION_LOG = "/dev/termination-log"

JOB_VARIABLE = "GALERA_BACKUP_JOB"
DATA_DIRECTORY_VARIABLE = "GALERA_BACKUP_DATA_DIRECTORY"
HOST_VARIABLE, PORT_VARIABLE = "MARIADB_HOST", "MARIADB_PORT"
"""Environment of both containers: where the replica's server listens."""
CLAIM_VARIABLE = "GALERA_BACKUP_CLAIM"
"""Environment of the agent: the data claim that the pod mounts."""
SITE_VARIABLE = "GALERA_BACKUP_SITE"
"""Environment of the agent: the uid of the StatefulSet. Another Kubernetes cluster may write to the same volume."""
PLACE_VARIABLES = {
    "GALERA_BACKUP_ROOT": BACKUP_ROOT,
    DATA_DIRECTORY_VARIABLE: DATA_DIRECTORY,
    "GALERA_BACKUP_VOLUME": VOLUME,
    "GALERA_BACKUP_WORK": WORK,
    "GALERA_BACKUP_TERMINATION_LOG": TERMINATION_LOG,
}
"""Environment of the agent that moves its paths, with their defaults; a pod sets at most that of the data directory."""

MARIADB_CONTAINER = "mariadb"
AGENT_CONTAINER = "agent"

BEGINS = "from here on the data directory is changed"
"""Line of the agent's log, before the first change."""

# --- names in WORK

ALIVE = "alive"
"""FIFO, made by the agent; the script writes a line when it starts and keeps it open to its end."""
STREAM = "stream"
"""FIFO, made by the agent when it is ready: mbstream, to the agent in a backup, from it in a restore."""
DONE = "done"
"""Made by the agent at its end, whatever that was: a script that still waits exits with 0."""
TARGET = "target"
"""One line: the directory that a restore unpacks to, as both containers see it."""
PREPARE = "prepare"
"""Made by the agent when the unpacked stream had the right size and checksum: the script may prepare."""
PROVIDER = "provider"
"""Where the image has Galera's library; empty: it has none."""
VERSION = "version"
"""Output of `mariadb-backup --version`."""
CONNECTED = "connected"
"""Made by the agent when the server has answered: the script may log in."""
LOG_IN = "log_in"
"""Why the server refuses the account; empty: it does not."""
LSN_DIRECTORY = "lsn"
"""`--extra-lsndir`: mariadb-backup writes its checkpoints and info here at the very end of a backup."""

BACKUP_LOG = "backup.log"
BACKUP_STATUS = "backup.status"
UNPACK_LOG = "unpack.log"
UNPACK_STATUS = "unpack.status"
PREPARE_LOG = "prepare.log"
PREPARE_STATUS = "prepare.status"
