"""Uploads a folder of files to the storage as a run does: `upload_ours.py FOLDER PREFIX`."""

import sys
from pathlib import Path

from cdpsync.load.upload import Uploader
from cdpsync.model import Warehouse
from cdpsync.storage import open_storage

storage = open_storage(Warehouse(f"s3://lake/{sys.argv[2]}", Path(), Path()))
uploader = Uploader(storage, "20260101T000000Z-abcdef", 1 << 40)
upload = uploader.start_table("shop/orders")
for file in sorted(Path(sys.argv[1]).iterdir()):
    upload.add(file, file.stat().st_size, keep=True)
upload.wait()
uploader.close()
storage.close()
