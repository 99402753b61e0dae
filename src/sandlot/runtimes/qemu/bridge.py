"""The keeper's end of the bridge: host programs on the workspace's socket, streams on the guest's serial port.

How the keeper uses it (one thread; ``serve`` is its event loop)::

    bridge = Bridge(port)                        # port: the connected unix socket of QEMU's virtio-serial chardev
    bridge.hello(deadline_s)                     # only after a boot: a clone's template has said it already
    bridge.configure({TIME: ..., SEED: ..., HOSTNAME: ..., WORKSPACE: ...}, deadline_s)
    bridge.listen(listening)                     # from now on clients of the workspace's socket are served
    bridge.watch(leash, lambda: False)           # further descriptors of the loop: False ends ``serve``
    bridge.watch(pidfd_of_qemu, lambda: False)
    why = bridge.serve()                         # until the agent has ended, the port is closed, or a watch says so
    bridge.close()

The launcher then talks to the workspace's socket: ``ask_job(socket, b"storage", ...)`` for layers and mounts,
``ask_start(socket, {IDLE: ..., LIMITS: ...})`` to start the agent, and the agent's own requests. Clients that come
before the agent has started wait for it. A keeper may also call ``bridge.start(values, deadline_s)`` itself.

A base template is made in the same way: hello, listen, jobs through the socket, ``serve`` until a watch ends it; the
port is quiet then. CONFIGURE begins a new session: both sides forget every stream.
"""
