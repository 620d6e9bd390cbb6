"""What each command does once, without click and rich."""
