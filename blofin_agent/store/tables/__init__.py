"""One module for each table, or each group of tables: one function is one transaction."""
