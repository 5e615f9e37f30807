# shellcheck shell=sh
# Publish the version of the image's mariadb-backup. Mounts: WORK.

await alive
hold_alive
prepare_tools
publish version "$(nice -n 19 mariadb-backup --version 2>&1)"
