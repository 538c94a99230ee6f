"""The command line: commands parse arguments, call the library and render its results."""
