"""Where the programs from npm are; run as a module, it installs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("node@24", "@modelcontextprotocol/conformance@0.2.0-alpha.12", "@modelcontextprotocol/inspector@2.12")
"""The suite that knows the revision of 2026-07-28, the Inspector, and a Node that is new enough for both."""
FOLDER = Path(os.environ.get("SANDLOT_MCP_CLIENTS") or "/var/tmp/sandlot-clients-mcp")
MODULES = FOLDER / "node_modules"
NODE = MODULES / "node" / "bin" / "node"
CONFORMANCE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR = MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
INSTALLED = all(each.exists() for each in (NODE, CONFORMANCE, INSPECTOR))
WHY_NOT = "the conformance suite is not installed: python -m tests.conformance.clients"


def main() -> int:
    """Install what is missing."""
    if INSTALLED:
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    # The scripts that these packages run when they are installed fetch Node for this machine and build the clients.
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *PACKAGES]
    return subprocess.run(command, check=False, cwd=FOLDER).returncode


if __name__ == "__main__":
    sys.exit(main())
