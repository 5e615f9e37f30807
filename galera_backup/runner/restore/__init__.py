"""Restores through the backup volume: unpack and prepare there once, then copy to each data claim."""
