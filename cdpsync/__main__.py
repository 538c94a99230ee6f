"""The entry point of `python -m cdpsync`."""

from cdpsync.cli.main import main

main()
