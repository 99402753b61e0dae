"""Programs that stand in for a server in which something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.hosts.conftest import script

_HEAD = f"#!{sys.executable}\n"
_ANSWER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method = message["method"]
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    elif method == "server/discover":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
    elif method == "tools/list":
        result = {"tools": [{"name": "one"}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""

SERVERS = {
    "good": _ANSWER,
    "chatty": 'print(\'{"jsonrpc": "2.0", "method": "notifications/message"}\', flush=True)\n' + _ANSWER,
    "legacy-only": _ANSWER.replace('"server/discover"', '"other"').replace(
        "        continue",
        """        error = {"code": -32601, "message": "unknown method"}
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue""",
    ),
    "silent": "import sys\nfor line in sys.stdin: pass\n",
    "deaf": "import time\ntime.sleep(600)\n",
    "gone": "import sys\nprint('no such mode', file=sys.stderr)\nsys.exit(2)\n",
    "junk": "print('Welcome!', flush=True)\nimport sys\nfor line in sys.stdin: pass\n",
    "endless": "import sys\nwhile True: sys.stdout.write('x' * 65536)\n",
    "toolless": _ANSWER.replace('{"tools": [{"name": "one"}]}', "{}"),
    "loud": "import sys\nsys.stderr.write('x' * 300000)\nsys.stderr.flush()\n" + _ANSWER,
    "stubborn": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    + _ANSWER
    + "\nimport time\ntime.sleep(600)\n",
}


def server(folder: Path, kind: str) -> Path:
    """One of them, as a program."""
    return script(folder / kind, _HEAD + SERVERS[kind])
