"""``python -m sandlot``."""

from sandlot.cli.main import main

main()
