"""The commands: a module for each, or for two or three that belong together."""
