"""Durable sequences only: no I/O, no clients, no environment.

No imports here: the sandbox of each run imports this package, and then loads only the modules that its workflow uses.
"""
