"""One open system a module: each reads it as exactly and as fast as can be."""
