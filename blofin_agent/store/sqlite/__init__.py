"""SQLite: the driver, and the database file at its path."""
