"""Loading: a table from the spool into the storage and the catalog."""
