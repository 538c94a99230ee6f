"""Templates: `{{ expressions }}` and bodies of a destination, compiled to SQL."""
