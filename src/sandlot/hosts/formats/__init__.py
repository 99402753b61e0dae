"""Changing one entry of a configuration file that belongs to somebody else: comments, order and layout stay."""

from __future__ import annotations
