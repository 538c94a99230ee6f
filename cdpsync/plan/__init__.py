"""Plans: what a run will do with each table. Pure: no I/O, no clock."""
