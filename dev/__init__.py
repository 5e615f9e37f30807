"""Development tools of this checkout: the local stack (`dev/up`) and what tests import from it."""
