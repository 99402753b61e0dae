"""CLI agents: one file for each, with its headless command line and how its stream is read."""
