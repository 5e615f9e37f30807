-- The account of the backup, with the smallest set of privileges that works on MariaDB 10.11.
CREATE USER IF NOT EXISTS '${username}'@'%';
ALTER USER '${username}'@'%' IDENTIFIED BY '${password}';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SUPER ON *.* TO '${username}'@'%';
