"""A web service from a fresh checkout: install from an allowed package index, start, probe, read logs, stop.

Needs network: Flask is installed inside from the package index that your pip uses.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from sandlot import Sandlot, Workspace

APP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def greet():
    return "hello from inside\\n"
"""
INSTALL = "python3 -m venv .venv && .venv/bin/pip install --quiet --retries 1 -r requirements.txt"
SERVE = [".venv/bin/flask", "--app", "app", "run", "--port", "8000"]
PROBE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode(), end='')"


def checkout(folder: Path) -> Path:
    """A small repository with a dependency."""
    folder.mkdir()
    folder.joinpath("app.py").write_text(APP)
    folder.joinpath("requirements.txt").write_text("flask>=3\n")
    who = ("-c", "user.name=Ana", "-c", "user.email=ana@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "A service")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def install(workspace: Workspace) -> int:
    """Install the requirements inside; prints what was denied, if anything."""
    done = workspace.exec(INSTALL, timeout=300)
    print(f"install: exit {done.exit_status}")
    if not done.ok:
        print(*[f"  {line}" for line in done.stderr.text.splitlines()[:2]], sep="\n")
        print(*[f"  denied: {each}" for each in done.denied], sep="\n")
    return done.exit_status


def main() -> int:
    """Run it; prints what happens."""
    python = sys.base_prefix
    with tempfile.TemporaryDirectory() as folder, Sandlot() as sandlot:
        project = checkout(Path(folder, "project"))

        print("the network is off:")
        with sandlot.create(project, committed_only=True, toolchains=[python]) as workspace:
            if install(workspace) == 0:
                return 1

        print("the package index is allowed:")
        with sandlot.create(
            project, committed_only=True, toolchains=[python], allow_preset=["python-packages"], publish=[8000]
        ) as workspace:
            if install(workspace) != 0:
                return 1
            started = workspace.services.start("web", SERVE, ready_http="http://127.0.0.1:8000/")
            print(f"service: {started.service.state}")
            print("from inside:", workspace.exec(["python3", "-c", PROBE]).stdout.text, end="")
            (published,) = workspace.status().workspace.network.ports
            with urllib.request.urlopen(f"http://127.0.0.1:{published.host_port}/", timeout=10) as answer:
                print("from the host:", answer.read().decode(), end="")
            print("log:", workspace.services.logs("web", tail=1).stderr, end="")
            print(f"service: {workspace.services.stop('web').service.state}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
