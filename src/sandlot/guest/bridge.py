"""The guest's end of the bridge: root, outside of the agent's pid namespace, in nobody's reach.

The initramfs starts it as its last act (it need not be PID 1)::

    python3 -I -S -E -B -c "import sys; sys.path.insert(0, LIB); from sandlot.guest.bridge import main; main()" PORT

PORT is the virtio-serial device (/dev/virtio-ports/NAME). It says HELLO, waits for CONFIGURE, serves JOBs at any time
(guest/jobs.py: name -> function), starts the agent when START comes (guest/confine.py), and says ENDED when the agent
has ended; then it returns, and the guest is to be powered off by whoever started it. It never returns for any other
reason but a port that is closed for good, which only a socket (in tests) can be.

The host: needs /proc, /dev, a tmpfs on /run and ``lo`` up; what the agent sees is what is mounted when START comes.
"""
