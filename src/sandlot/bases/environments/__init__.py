"""Environments: root file systems by content, made of packages, images and setups. See store.py."""
