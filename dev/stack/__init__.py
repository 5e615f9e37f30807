"""The local stack: Temporal, Kubernetes and a Galera cluster on one Linux machine, without a container daemon."""
