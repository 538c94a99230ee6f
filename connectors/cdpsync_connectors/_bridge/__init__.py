"""What connectors share that run another project's program: environments, processes, records."""
