"""Landed files on their way to the storage, as in a run: `upload_ours.py FOLDER PREFIX`."""

import sys
from pathlib import Path

from cdpsync.load.upload import SpoolBudget, Uploader
from cdpsync.model import Warehouse
from cdpsync.storage import open_storage

storage = open_storage(Warehouse(f"s3://lake/{sys.argv[2]}", Path(), Path()))
courier = Uploader(storage, "20260101T000000Z-abcdef", SpoolBudget(1 << 40))
delivery = courier.start_table("shop/orders")
for file in sorted(Path(sys.argv[1]).iterdir()):
    delivery.add(file, file.stat().st_size, keep=True)
delivery.wait()
courier.close()
storage.close()
