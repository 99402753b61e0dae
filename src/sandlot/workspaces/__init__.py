"""Workspaces: their records, life, commands, files, differences and ends."""
