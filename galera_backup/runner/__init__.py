"""The agent: what runs in the second container of a runner pod, and the scripts of the first."""
