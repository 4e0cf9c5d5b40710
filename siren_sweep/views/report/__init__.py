"""One self-contained HTML file of a sweep, from its studies and saved files; it opens from disk, with no network."""
