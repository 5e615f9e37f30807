"""The lease of a cluster, the stakes that it undoes, and the side of the operation that holds it."""
