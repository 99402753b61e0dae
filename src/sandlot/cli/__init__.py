"""The command line: words and formats only, never a decision."""
