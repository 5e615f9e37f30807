"""Durable backup and restore of MariaDB Galera clusters in Kubernetes: the parts that know no Temporal sequence."""

__version__ = "0.1.0"
