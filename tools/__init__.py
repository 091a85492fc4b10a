"""Programs for whoever works on leafzoom; see README.md."""
