"""Chat hosts: writing the entry that starts our server into their configuration, and saying why it does not work.

::

    catalog.py      the hosts there are
    host.py         the contract: where a host keeps entries, what an entry looks like, how it starts them
    claude_code.py, codex.py, ...   one file for each host; they do not know each other
    launch.py       which server an entry starts, and with which program
    around.py       the user's home, environment and project, as hosts see them
    formats/        JSON with comments, TOML, YAML: changing one entry and nothing else
    files.py        reading, and replacing atomically
    records.py      the one backup of each file, and what is known of what we wrote
    planning.py     what would change, as data that can be shown
    applying.py     carrying it out
    connecting.py   connect, disconnect
    listing.py      list
    starting.py     starting an entry's command as its host would, in both eras of the protocol
    checks.py       doctor
    repairing.py    repair, undo
"""

from __future__ import annotations
