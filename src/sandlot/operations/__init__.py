"""What a user may do to workspaces: one file per verb, each with its request, its result and how it is done."""
