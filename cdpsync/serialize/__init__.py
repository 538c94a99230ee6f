"""Results as JSON, CSV and text, for the command line and any other reader."""
