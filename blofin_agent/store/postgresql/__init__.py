"""PostgreSQL: connections, deadlines, partitions, the server's clock."""
