"""Better labels: which to look at again, a page to decide on them, and a new table."""
