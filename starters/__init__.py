"""What an operator types: each module is one command of `galera-backup`, and runs as `python -m starters.<module>`."""
