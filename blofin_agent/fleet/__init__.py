"""Several agents on one database: membership, leases, which agent owns which symbol."""
