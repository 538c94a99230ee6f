"""Results as a person or a script reads them."""
