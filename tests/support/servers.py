"""The servers of the tests and the demo: real ones, installed by pip, no container engine."""

from support.gcs_server import fake_gcs
from support.postgres_server import Database, Server, postgres, standby
from support.processes import ServerError, free_port
from support.s3_server import READER, Buckets, read_models_once, seaweedfs

__all__ = [
    "READER",
    "Buckets",
    "Database",
    "Server",
    "ServerError",
    "fake_gcs",
    "free_port",
    "postgres",
    "read_models_once",
    "seaweedfs",
    "standby",
]
