"""Presets of destinations, as YAML files; there is no code here."""
