"""Lives of random deaths, for as long as you like: `make soak SECONDS=3600 SEED=1`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random, randrange

import psycopg
from support.crash_points import Mortals, Step
from support.histories import MODES, Life
from support.servers import Buckets, Server, fake_gcs, postgres, seaweedfs


def warehouse(store: str, name: str, s3: Buckets, gcs: str) -> dict[str, object]:
    """Return the `warehouse:` of a lake of one's own in this kind of store."""
    if store == "s3":
        names = ("endpoint", "region", "access_key_id", "secret_access_key")
        return {"path": f"s3://lake/{name}", "storage": {one: getattr(s3, one) for one in names}}
    if store == "gcs":
        return {"path": f"gs://lake/{name}", "storage": {"endpoint": gcs}}
    return {"path": "./warehouse", "publish": True}


def live(life: Life, mortals: Mortals, chance: Random, deaths: int) -> Counter[str]:
    """Let a table live through so many random deaths; count what it died of."""
    causes: Counter[str] = Counter()
    steps: tuple[Step, ...] = mortals.run(life.file).steps
    catalog = life.file.parent / ".cdpsync/catalog.ducklake"
    for _ in range(deaths):
        life.change()
        torn = chance.random() < 0.3
        limit = int(catalog.stat().st_size ** chance.uniform(0, 1.02)) if torn else None
        at = chance.choice(steps)
        ended = life.die(mortals, at=at, limit=limit)
        causes["torn write" if torn else at[0]] += ended.killed
        if not ended.killed:
            steps = ended.steps or steps
    life.settle()
    return causes


def soak(seconds: float, seed: int, deaths: int, server: Server, s3: Buckets, gcs: str) -> int:
    """Begin lives until the time is over; print what came of them; return how many died."""
    causes: Counter[str] = Counter()
    lives = 0
    end = time.monotonic() + seconds
    with Mortals() as mortals:
        while time.monotonic() < end:
            chance = Random(f"{seed} {lives}")  # noqa: S311 - a moment to die, not a secret
            mode, store = chance.choice(list(MODES)), chance.choice(["folder", "s3", "gcs"])
            folder = Path(tempfile.mkdtemp(prefix="cdpsync-soak-"))
            name = f"soak_{seed}_{lives}"
            print(f"life {lives} of seed {seed}: {mode} in {store}, {folder}", flush=True)
            with server.database(name) as database:
                shop = {"type": "postgres", "url": database.url}
                said = {
                    "warehouse": warehouse(store, name, s3, gcs),
                    "sources": {"shop": {**shop, "tables": {"public.orders": MODES[mode]}}},
                }
                (folder / "cdpsync.yml").write_text(json.dumps(said))
                with psycopg.connect(database.url, autocommit=True) as source:
                    life = Life(folder / "cdpsync.yml", source, mode)
                    life.begin()
                    causes += live(life, mortals, chance, deaths)
            shutil.rmtree(folder)
            lives += 1
    print(f"\n{causes.total()} deaths in {lives} lives, each followed by the lake of a clean run:")
    for cause, count in causes.most_common():
        print(f"{count:7}  {cause}")
    return causes.total()


def main() -> int:
    """Say how long, from which seed, and how many deaths in a life; 1 when nobody died."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=randrange(1_000_000))  # noqa: S311
    parser.add_argument("--deaths", type=int, default=25)
    asked = parser.parse_args()
    with postgres() as server, seaweedfs() as s3, fake_gcs() as gcs:
        s3.client().create_bucket(Bucket="lake")
        _make_bucket(gcs)
        return 0 if soak(asked.seconds, asked.seed, asked.deaths, server, s3, gcs) else 1


def _make_bucket(address: str) -> None:
    from urllib.request import Request, urlopen

    said = json.dumps({"name": "lake"}).encode()
    asked = Request(f"{address}/storage/v1/b?project=test", said, method="POST")  # noqa: S310
    asked.add_header("content-type", "application/json")
    urlopen(asked).close()  # noqa: S310 - our own http address


if __name__ == "__main__":
    sys.exit(main())
