"""Floor 0: errors, values and array helpers. Knows only the standard library and numpy."""
