"""Faults at every point of every operation, on the real stack, and what must hold after each of them.

What judges (`invariants`, `watch`) shares nothing with the product: it reads Kubernetes, MariaDB, Temporal and the
backup volume by itself, and names annotations and labels as an operator sees them.
"""
