"""What dev/test and dev/demo are made of; the standard library only, because they make the environment of the rest."""
