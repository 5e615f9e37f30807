"""Durable backup and restore of MariaDB Galera clusters in Kubernetes: the parts that know no Temporal sequence."""
