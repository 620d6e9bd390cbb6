"""The read-only picture of the agent that the page, the API and the scrape show."""
