"""What a command can learn of the agent and its own supervisor. Argument: a token of the host's secrets, reversed."""

import json
import os
import sys

token = sys.argv[1][::-1].encode()
opened, found = [], []
for pid in ("1", str(os.getppid())):
    for name in ("mem", "environ", "maps", "auxv", "stack", "syscall", "personality", "io"):
        try:
            with open("/proc/%s/%s" % (pid, name), "rb") as file:
                if name == "mem" or file.read(10):
                    opened.append("%s/%s" % (pid, name))
        except OSError:
            pass
    for name in ("root", "cwd", "exe"):
        try:
            os.readlink("/proc/%s/%s" % (pid, name))
            opened.append("%s/%s" % (pid, name))
        except OSError:
            pass
    for folder in ("fd", "map_files", "ns"):
        try:
            names = os.listdir("/proc/%s/%s" % (pid, folder))
        except OSError:
            continue
        for name in names:
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                try:
                    os.close(os.open("/proc/%s/%s/%s" % (pid, folder, name), flags | os.O_NONBLOCK))
                    opened.append("%s/%s/%s" % (pid, folder, name))
                except OSError:
                    pass

for pid in os.listdir("/proc"):
    if pid.isdigit():
        for name in ("environ", "cmdline", "comm", "status", "mountinfo", "cgroup"):
            try:
                with open("/proc/%s/%s" % (pid, name), "rb") as file:
                    if token in file.read():
                        found.append("%s/%s" % (pid, name))
            except OSError:
                pass
if token in repr(dict(os.environ)).encode():
    found.append("environment")
own = {}
for name in os.listdir("/proc/self/fd"):
    try:
        own[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass  # the descriptor that listed them
with open("/proc/1/cmdline", "rb") as file:
    command = file.read().replace(b"\0", b" ").decode()
json.dump({"opened": opened, "found": found, "own": own, "environment": dict(os.environ), "agent": command,
           "pids": sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit())}, sys.stdout)  # fmt: skip
