"""Build sdist and wheel, install the wheel in an empty environment, and use it from an empty folder.

A run of the demo, one workspace, one MCP session and the repository's own evals.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = (".ci", ".git/", "__pycache__", ".venv", ".sandlot/runs")

SESSION = """
import asyncio, os, sys
from mcp import Client, StdioServerParameters

async def main():
    server = StdioServerParameters(
        command=sys.argv[1], args=["mcp", "serve", "--mode", "repro-fix", "--no-project-source"], env=dict(os.environ)
    )
    async with Client(server) as client:
        assert len((await client.list_tools()).tools) == 17
        for name, arguments in (
            ("workspace_create", {"name": "from-a-chat"}),
            ("workspace_exec", {"workspace": "from-a-chat", "command": "echo one session from the wheel"}),
            ("workspace_delete", {"workspace": "from-a-chat"}),
        ):
            answer = await client.call_tool(name, arguments)
            assert not answer.is_error, answer
            print(answer.content[0].text.splitlines()[-1])

asyncio.run(main())
"""


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run, show, and stop at the first failure."""
    print("$", " ".join(map(str, argv)).strip().partition("\n")[0], flush=True)
    done = subprocess.run(list(map(str, argv)), cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def contents(dist: Path) -> None:
    """What the archives must and must not hold."""
    wheel, sdist = next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(sdist) as archive:
        names += archive.getnames()
    assert any(name.endswith("sandlot/py.typed") for name in names), "no py.typed"
    assert any(name.endswith("licenses/LICENSE") for name in names), "no licence in the wheel"
    bad = [name for name in names if any(word in name for word in FORBIDDEN)]
    assert not bad, f"should not ship: {bad}"


def evals(sandlot: Path, folder: Path, env: dict[str, str]) -> None:
    """The repository's own suites, with their scripted target, by the wheel; and that the same suites can fail."""
    for name in ("evals", "smokes/projects"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    print(run(sandlot, "eval", "validate", "evals/", cwd=folder, env=env), end="")
    print(run(sandlot, "eval", "run", "evals/", cwd=folder, env=env), end="")
    idle = run(
        sandlot, "eval", "run", "evals/", "--target", "idle", "--min-pass-rate", "0", "--json", cwd=folder, env=env
    )
    assert json.loads(idle)["numbers"]["passed"] == 0, "a target that does nothing has passed"
    run(sandlot, "pool", "prune", cwd=folder, env=env)


def main() -> None:
    """Everything, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="sandlot-dist-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
        contents(folder / "dist")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", next((folder / "dist").glob("*.whl")), cwd=folder)
        home, empty = folder / "home", folder / "empty"
        home.mkdir()
        empty.mkdir()
        env = {"HOME": str(home), "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        sandlot = folder / "venv" / "bin" / "sandlot"
        print(run(sandlot, "--version", cwd=empty, env=env), end="")
        print(run(sandlot, "doctor", "--deep", cwd=empty, env=env), end="")
        print(run(sandlot, "demo", cwd=empty, env=env), end="")
        print(run(sandlot, "run", "--", "sh", "-c", "echo one workspace from the wheel", cwd=empty, env=env), end="")
        print(run(python, "-c", SESSION, sandlot, cwd=empty, env=env), end="")
        evals(sandlot, folder / "evals-alone", env)
        print(run(sandlot, "host", "print-config", "codex", "--mode", "inspect", cwd=empty, env=env), end="")
        assert not list(empty.iterdir()), "something was left in the working folder"
        left = run(sandlot, "workspace", "list", "--id-only", cwd=empty, env=env)
        assert not left, f"workspaces were left: {left}"
    print("dist-check passed")


if __name__ == "__main__":
    main()
