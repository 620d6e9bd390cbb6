"""Copy a database into another: `blofin-agent copy`."""
