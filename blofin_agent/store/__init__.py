"""The store: SQLAlchemy Core. Each function is one transaction in one worker thread."""
