"""A board: its configuration and its private splits."""
