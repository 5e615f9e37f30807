# shellcheck shell=sh
# Publish what the image has: where Galera's library is, and the version of mariadb-backup. Mounts: WORK.
# shellcheck disable=SC2154 # prelude.sh sets provider

await alive
hold_alive
prepare_tools
find_provider
publish provider "$provider"
publish version "$(nice -n 19 mariadb-backup --version 2>&1)"
