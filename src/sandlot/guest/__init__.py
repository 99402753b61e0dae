"""The agent: the small program that is PID 1 of a workspace. Stdlib only; imports only ``wire``; Python 3.9 or later.

It runs under whatever interpreter the workspace's root offers, from a private copy of these files, so nothing here may
need the rest of sandlot. Start-up time is a feature: no ``socket``, ``selectors``, ``asyncio``, ``ctypes`` or
``subprocess``; the C modules below them are enough.
"""
