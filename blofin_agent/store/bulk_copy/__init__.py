"""Copy all rows of a database into another."""
