"""What the two containers of a runner pod, and the worker that builds the pod, agree on.

`mariadb` runs the image of the server (so the tools' version is the server's) and only needs `sh`, `mariadb-backup`,
`mbstream`; `agent` runs our image. They share the emptyDir WORK and meet in its FIFO.
"""

from __future__ import annotations

BACKUP_ROOT = "/var/backup"
DATA_DIRECTORY = "/var/lib/mysql"
"""Where the agent sees the data volume; the mariadb container sees it where the server does (environment DATADIR)."""
WORK = "/run/galera-backup"
CREDENTIALS = "/run/credentials"
"""In the mariadb container of a backup: files `username` and `password`."""
JOB_VARIABLE = "GALERA_BACKUP_JOB"

MARIADB_CONTAINER = "mariadb"
AGENT_CONTAINER = "agent"
