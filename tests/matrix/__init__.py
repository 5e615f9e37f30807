"""The kill matrix: every step of every operation, times every way in which it can die there, and what must hold then.

`operations` is the table, `play` runs one cell of it, `choose` says which cells a commit runs.
"""
