"""The report of a sweep: one HTML file that needs no network, made from the studies and the saved files."""
