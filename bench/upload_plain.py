"""Uploads one file with boto3's defaults: `upload_plain.py FILE KEY`."""

import sys

import boto3

boto3.client("s3").upload_file(sys.argv[1], "lake", sys.argv[2])
