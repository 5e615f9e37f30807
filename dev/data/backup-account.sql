-- The account of the backup: the smallest set of privileges that works on MariaDB 10.11, found by leaving out each.
--   RELOAD   mariadb-backup locks with BACKUP STAGE and flushes logs; without it: "missing required privilege RELOAD"
--   PROCESS  mariadb-backup reads SHOW ENGINE INNODB STATUS; the backup looks for other sessions' pending statements
--   SUPER    SET GLOBAL wsrep_desync (ERROR 1227 without it; MariaDB has no smaller privilege for it). It includes what
--            BINLOG MONITOR allows (SHOW MASTER STATUS): from MariaDB 11 on grant BINLOG MONITOR as well
-- Not needed: LOCK TABLES; any privilege on data (the files are read, not the tables); REPLICA MONITOR, whose absence
-- mariadb-backup only warns about.
CREATE USER IF NOT EXISTS '${username}'@'%';
ALTER USER '${username}'@'%' IDENTIFIED BY '${password}';
GRANT RELOAD, PROCESS, SUPER ON *.* TO '${username}'@'%';
