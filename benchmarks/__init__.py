"""What blofin-agent costs, as ratios to a floor or to a peer in the same run: `make bench`."""
