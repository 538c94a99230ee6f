"""The command line: commands parse, call and render; they know no SQL."""
