"""A report of many photos: the share of leaves with each disease, by group."""
