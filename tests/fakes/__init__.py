"""A cluster to test against: small state machines that behave as Kubernetes, MariaDB and runner pods do.

`World` is one namespace with one Galera cluster and a backup volume. `FakeKube` and `FakeMysql` have the methods of the
two gateways (a test compares the signatures) and serve any number of worlds, so that tests can run at once.
"""
