"""The only way into the database: queue, batch, commit, then update the coverage."""
