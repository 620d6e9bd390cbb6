"""Fill gaps once: `blofin-agent backfill`."""
