"""Read the database of the script stack that came before: `blofin-agent import`."""
