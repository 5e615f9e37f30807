"""Staged restores: a second copy on each data volume, exchanged with the data directory by renames."""
