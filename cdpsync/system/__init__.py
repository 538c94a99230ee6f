"""The machine: locks, clock, disk, private files and temporary folders."""
