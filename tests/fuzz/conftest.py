"""Nothing here is run by pytest: scripts/fuzz runs it in an environment of its own."""

collect_ignore_glob = ["*.py"]
