"""One plain upload, as anybody would write it: `upload_plain.py FILE KEY`."""

import sys

import boto3

boto3.client("s3").upload_file(sys.argv[1], "lake", sys.argv[2])
