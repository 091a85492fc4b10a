"""How fast leafzoom is; see README.md."""
