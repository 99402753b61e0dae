"""Runs on the host, as whoever it is started as: servers, a workspace with a secret, and a look at everything.

Prints a report as JSON in which every finding is a name, never the value, which nobody but this process knows.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import secrets
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

VALUE = "canary-" + secrets.token_urlsafe(24)
OTHER = "other-" + secrets.token_urlsafe(24)
ENCODED = base64.b64encode(VALUE.encode()).decode()
BACKWARDS = VALUE[::-1]  # for programs inside that have to know what to look for

LOOK_INSIDE = """
import os, sys
value = sys.argv[1][::-1].encode()
found = []
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("usr", "sys")]
    for name in files:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not path.endswith(("/kmsg", "/kpageflags")):
            try:
                with open(path, "rb") as file:
                    if value in file.read(1 << 20):
                        found.append(path)
            except OSError:
                pass
print(found)
"""
PYTHON_CLIENT = """
import os, sys, urllib.request
for url in sys.argv[1:]:
    request = urllib.request.Request(url, headers={"X-Key": os.environ["API_KEY"]})
    try:
        print(urllib.request.urlopen(request, timeout=30).read().decode())
    except OSError as error:
        print(error)
"""


class Server(http.server.ThreadingHTTPServer):
    """Notes what it is asked, and says it back."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[str] = []
        self.elsewhere = ""
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        pass  # clients that do not like our certificate


class Handler(http.server.BaseHTTPRequestHandler):
    """Redirects to another server where the path says so."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        said = f"{self.path}\n{self.headers}\n{sent.decode()}"
        self.server.heard.append(said)
        away = self.path.startswith("/away")
        key = self.headers.get("X-Key", "")
        body = f"{said}\n{base64.b64encode(key.encode()).decode()}\n".encode()
        self.send_response(307 if away else 200)
        if away:
            self.send_header("Location", f"{self.server.elsewhere}/arrived?{self.path.partition('?')[2]}")
        self.send_header("X-Echo", key)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def processes_that_show(value: bytes) -> list[str]:
    """Processes whose environment or arguments hold it, among those we may look at; ourselves included."""
    found = []
    for folder in Path("/proc").iterdir():
        for name in ("environ", "cmdline") if folder.name.isdigit() else ():
            try:
                if value in (folder / name).read_bytes():
                    found.append(f"{name} of {(folder / 'cmdline').read_bytes()[:80]!r}")
            except OSError:
                continue
    return found


def what_is_seen_of(instance: Any) -> list[str]:
    """What is to be had from the process that holds the values, by another one of the same user."""
    folder = Path(f"/proc/{instance.gateway_pid}")
    limit = [line.split()[4:6] for line in (folder / "limits").read_text().splitlines() if line.startswith("Max core")]
    found = [f"core {' '.join(limit[0])}"]
    for name in ("environ", "mem", "maps"):
        try:
            with open(folder / name, "rb") as file:
                file.read(0)
            found.append(name)
        except OSError:
            continue
    return found


def content(path: Path) -> bytes:
    """What is written in a file; the disk of a guest is long, and as good as empty."""
    parts, at = [], 0
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            parts.append(os.pread(file.fileno(), hole - at, at))
            at = hole
    return b"".join(parts)


def files_that_hold(value: bytes, folder: Path) -> list[str]:
    """Files below a folder, by their path in it."""
    found = []
    for top, _, names in os.walk(folder):  # which takes it easy when something is removed meanwhile
        for path in (Path(top, name) for name in names):
            try:
                if path.is_file() and not path.is_symlink() and value in content(path):
                    found.append(str(path.relative_to(folder)))
            except OSError:
                continue
    return found


def main() -> None:
    from sandlot import Secret
    from sandlot.sdk import Sandlot
    from sandlot.workspaces.secrets.authority import Authority

    authority = Authority.make(["127.0.0.1"])
    state = Path(os.environ["SANDLOT_STATE_DIR"])
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as trusted, Sandlot() as made:
        trusted.write(authority.certificate_pem)
        trusted.flush()
        os.environ["SSL_CERT_FILE"] = trusted.name  # whom the gateway trusts
        secure, secure_other = (Server(authority.server_context("127.0.0.1")) for _ in range(2))
        plain, plain_other = Server(None), Server(None)
        secure.elsewhere, plain.elsewhere = secure_other.address, plain_other.address
        servers = {"secure": secure, "secure_other": secure_other, "plain": plain, "plain_other": plain_other}
        private = [f"127.0.0.1:{each.server_port}" for each in servers.values()]
        workspace = made.create(
            secrets={"API_KEY": Secret(value=VALUE, hosts=(secure.address, plain.address))},
            allow_private=[*private, f"localhost:{plain.server_port}"],
        )
        report: dict[str, Any] = {"warnings": list(workspace.info.warnings), "root": os.geteuid() == 0}
        try:
            proxied = {"no_proxy": "", "NO_PROXY": ""}
            answers = []
            for each in servers.values():
                curl = f'curl -sS -i -H "X-Key: $API_KEY" -u "user:$API_KEY" "{each.address}/curl?k=$API_KEY"'
                answers.append(workspace.exec(curl, env=proxied))
            for each in (secure, plain):
                curl = f'curl -sS -L --location-trusted -H "X-Key: $API_KEY" "{each.address}/away?k=$API_KEY"'
                answers.append(workspace.exec(curl, env=proxied))
                forged = f'curl -sS -H "X-Key: $API_KEY" -H "Host: evil.example" "{each.address}/forged"'
                answers.append(workspace.exec(forged, env=proxied))
            lookalike = plain.address.replace("127.0.0.1", "localhost")
            for url in (f"{lookalike}/lookalike", f"{plain.address}/body -d k=$API_KEY"):
                answers.append(workspace.exec(f'curl -sS -H "X-Key: $API_KEY" {url}', env=proxied))
            stranger = made.create(  # who has a secret for the same places, and has seen a placeholder of ours
                secrets={"OWN": Secret(value=OTHER, hosts=(secure.address, plain.address))}, allow_private=private
            )
            (info,) = workspace.secrets.list()
            for each in (secure, plain):
                stolen = f'curl -sS -H "X-Key: {info.placeholder}" -H "X-Own: $OWN" "{each.address}/stolen"'
                answers.append(stranger.exec(stolen, env=proxied))
            stranger.delete()
            report["gateway"] = what_is_seen_of(made._context.store.find(workspace.id).instance)
            urls = [f"{each.address}/python" for each in servers.values()]
            answers.append(workspace.exec(["python3", "-c", PYTHON_CLIENT, *urls], env=proxied))
            workspace.exec("for n in 1 2 3; do echo $API_KEY >> notes.txt; done; git init -q . 2>/dev/null; true")
            sleeper = workspace.exec("echo $API_KEY; exec sleep 300", background=True, reveal=["API_KEY"])
            while not workspace.logs(sleeper.command.number).total_bytes:
                workspace.wait(sleeper.command.number, timeout=0.05)
            report["shown by processes"] = processes_that_show(VALUE.encode())
            report["files meanwhile"] = files_that_hold(VALUE.encode(), state)
            workspace.kill(sleeper.command.number)
            report["found inside"] = workspace.exec(["python3", "-c", LOOK_INSIDE, BACKWARDS]).stdout.text.strip()
            cores = 'grep -o "core file size *1 *1 " /proc/self/limits | tr -d a-z; '
            cores += '(kill -SEGV $BASHPID); ls -a | grep -c "^core"'
            report["cores"] = workspace.exec(["bash", "-c", cores], reveal=["API_KEY"]).stdout.text.split()
            workspace.snapshots.create("one")
            (fork,) = workspace.fork()
            told = [answers, workspace.diff(), workspace.summary(), workspace.status(), made.list(), fork.status()]
            told += [workspace.logs(), *(workspace.logs(each.command.number) for each in answers)]
            report["told"] = VALUE in repr(told) or ENCODED in repr(told)
            report["told a placeholder"] = "sandlot_secret_" in repr(told)
            workspace.export(".", state / "exported")
            report["files"] = files_that_hold(VALUE.encode(), state)
            report["ids"] = [workspace.id, fork.id]
            report["printed"] = [each.stdout.text + each.stderr.text for each in answers]
            fork.delete()
        finally:
            workspace.delete()
        report["files afterwards"] = files_that_hold(VALUE.encode(), state)
        report["heard"] = {name: [_request(said) for said in each.heard] for name, each in servers.items()}
    report["repeated"] = VALUE in json.dumps(report)
    print(json.dumps(report))


def _request(said: str) -> dict[str, Any]:
    """What came with a request."""
    return {
        "request": said.partition("\n")[0].partition("?")[0],
        "carried": said.count(VALUE),
        "basic": _basic(said),
        "placeholder": "sandlot_secret_" in said,
        "other": OTHER in said,
    }


def _basic(said: str) -> bool:
    """Whether the value came in Basic credentials."""
    for line in said.splitlines():
        name, _, text = line.partition(": ")
        if name.lower() == "authorization" and text.startswith("Basic "):
            return VALUE in base64.b64decode(text[6:]).decode()
    return False


main()
