"""Documents in one SQLite database."""
