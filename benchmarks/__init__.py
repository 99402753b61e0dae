"""How long operations take, side by side with what a user would use instead: ``python -m benchmarks``.

::

    benchmarks/
    ├── __main__.py       options; one run from temporary folder to report
    ├── trees.py          the same generated project every time, with a git history
    ├── timing.py         contests: who competes, rounds in turn, medians
    ├── stage.py          what the contests share: a sandlot, a project, the tools to compare with
    ├── lives.py          contests: create, fork, reset, delete, list, repair
    ├── work.py           contests: exec, read, diff, snapshot
    ├── commandline.py    contests: the command line's own start
    ├── evals.py          a program of its own: what the eval runner costs
    ├── guests.py         a program of its own: what workspaces in virtual machines cost
    ├── network.py        the egress proxy against a direct connection
    ├── memory.py         what an idle workspace costs
    ├── machine.py        what it was measured on
    └── report.py         the table, the goals, JSON

Nothing here fails because something was slow: times are printed, never asserted.
"""
