"""Where backups are kept: the layout, and what reads and writes it."""
