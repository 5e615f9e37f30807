"""Operations on the real stack of `dev/up`: Temporal, Kubernetes, Galera, and a worker in a process of its own."""
