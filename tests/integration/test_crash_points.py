"""A run killed at each of its steps, and at any byte of its files; then the lake of a clean run."""

from __future__ import annotations

import json
import os
import shutil
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import urlopen

import psycopg
import pytest
from support.crash_points import Mortals
from support.histories import ALL_MODES, MODES, Life, moments, states_of_lake, varied_states
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.crash_points import Ended
    from support.servers import Server

_EACH_STEP = "CDPSYNC_EACH_STEP" in os.environ  # everything that this file can try: `make crashes`
_PARTS = 2  # of the first load's moments: a test each, so that none takes long
_TORN_PARTS = 6  # of a run, in each of which files are torn
_TORN_STRIDE = 1 if _EACH_STEP else 2  # so a mode has every second part, the next one the others
_REFUSED = 8 if _EACH_STEP else 4  # writes on a full disk, in each mode
_STORES = {
    "s3": ("incremental", "full_table", "deletes_soft"),
    "gcs": ("append_only", "deletes_hard"),
}
"""The modes that are tried in each kind of bucket, because the way there is the same in all."""


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    """Who begins the runs that die."""
    with Mortals() as process:
        yield process


@pytest.fixture
def life(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Life]:
    """A project with one table, in the mode that the test is about."""
    mode = request.getfixturevalue("mode")
    shop.warehouse["publish"] = mode == "incremental"
    shop.configure({"public.orders": ALL_MODES[mode]})
    with psycopg.connect(shop.pg.url, autocommit=True) as source:
        life = Life(shop.file, source, mode)
        life.begin()
        yield life


def stored(shop: Shop) -> Callable[[], set[str]]:
    """Return a function that lists the data files in the project's store."""
    path: str = shop.warehouse["path"]
    if path.startswith("gs://"):
        return lambda: _in_gcs(path, shop.warehouse["storage"]["endpoint"])
    if path.startswith("s3://"):
        return lambda: _in_s3(path, shop)
    folder = shop.folder / path
    return lambda: {str(file) for file in _files(folder) if file.name != "catalog.ducklake"}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _in_gcs(path: str, endpoint: str) -> set[str]:
    prefix = quote(path.removeprefix("gs://lake/") + "/", safe="")
    with urlopen(f"{endpoint}/storage/v1/b/lake/o?prefix={prefix}") as answer:  # noqa: S310 - ours
        found = json.load(answer).get("items", [])
    return {f"gs://lake/{one['name']}" for one in found if one["name"].endswith(".parquet")}


def _in_s3(path: str, shop: Shop) -> set[str]:
    import boto3
    from botocore.config import Config

    said = shop.warehouse["storage"]
    client = boto3.client(
        "s3",
        endpoint_url=said["endpoint"],
        region_name=said["region"],
        aws_access_key_id=said["access_key_id"],
        aws_secret_access_key=said["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}),
    )
    prefix = path.removeprefix("s3://lake/") + "/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
    found = [one["Key"] for page in pages for one in page.get("Contents", ())]
    client.close()
    return {f"s3://lake/{key}" for key in found if key.endswith(".parquet")}


def traced(life: Life, mortals: Mortals, *, watched: bool = False) -> Ended:
    """Run twice in peace, the second time with changes, and return what that one did."""
    assert not mortals.run(life.file).error
    life.change()
    ended = mortals.run(life.file, watched=watched, compacts=life.compacts)
    assert not ended.error
    life.check()
    return ended


@pytest.fixture(scope="module")
def tried(
    postgres_server: Server, mortals: Mortals, tmp_path_factory: pytest.TempPathFactory
) -> frozenset[int]:
    """The remnants that a run leaves in the first mode, in which each of them is tried."""
    mode = next(iter(MODES))
    with (
        postgres_server.database("tried_remnants") as pg,
        psycopg.connect(pg.url, autocommit=True) as source,
    ):
        shop = Shop(tmp_path_factory.mktemp("tried"), pg)
        shop.configure({"public.orders": MODES[mode]})
        life = Life(shop.file, source, mode, compacts=True)
        life.begin()
        return frozenset(state.remnants for state in traced(life, mortals, watched=True).states)


@pytest.mark.timeout(3600 if _EACH_STEP else 1200)  # the first mode has some thirty deaths
@pytest.mark.parametrize("mode", ALL_MODES if _EACH_STEP else MODES)
def test_killed_at_each_step_and_a_rerun_are_one_clean_run(
    shop: Shop, life: Life, mortals: Mortals, tried: frozenset[int], mode: str
) -> None:
    """At whichever step a run dies, the next one mends it: nothing lost, twice, half, or left.

    Steps that find the same on the disk are one moment. What a run leaves beside the lake is the
    same in each mode: so the first mode has each of these remnants, also those of a compaction.
    Each mode has each state of the lake, and remnants of its own.
    """
    life.compacts = mode == next(iter(MODES))
    chance = Random(mode)  # noqa: S311 - a moment to die, not a secret
    ended = traced(life, mortals, watched=True)
    if _EACH_STEP:
        chosen = list(ended.steps)
    elif mode == next(iter(MODES)):
        chosen = varied_states(ended, chance)
    else:
        chosen = states_of_lake(ended, chance, tried)
    assert len(chosen) > 5
    for step in chosen:
        life.change()
        life.die(mortals, at=step)
    life.clean_up(stored(shop))
    assert len(life.deaths) > len(chosen) / 2


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("mode", ["append_only"])
def test_killed_in_the_first_load_and_a_rerun_are_one_clean_run(
    shop: Shop, life: Life, mortals: Mortals, mode: str, part: int
) -> None:
    """So does the very first run, which makes the catalog.

    What `maintain` has to remove then is in the lake, and tried once for each state of it.
    """
    chance = Random(f"{mode} {part}")  # noqa: S311 - a moment to die, not a secret
    ended = mortals.run(life.file, watched=True)
    lake_of = {step: state.lake for step, state in zip(ended.steps, ended.states, strict=True)}
    chosen = list(ended.steps) if _EACH_STEP else varied_states(ended, chance)
    with_new_lake = {lake_of[step]: step for step in reversed(chosen)}  # the first of each
    for step in chosen[part::_PARTS]:
        shutil.rmtree(shop.folder / ".cdpsync")
        shutil.rmtree(shop.folder / "warehouse")
        life.die(mortals, at=step)
        if step == with_new_lake[lake_of[step]]:
            life.clean_up(stored(shop))
    assert life.deaths


@pytest.mark.parametrize("mode", ALL_MODES)
def test_killed_in_the_middle_of_a_write_and_a_rerun_are_one_clean_run(
    shop: Shop, life: Life, mortals: Mortals, mode: str
) -> None:
    """A file torn at any byte, the catalog's and its log's too, does no harm.

    From a moment in some sixth of the run on: until its last write, after which no file is torn.
    How many steps a run has, and so which moments these are, depends on the version of Python: if
    the files then end before the byte, two further deaths are at an early one.
    """
    chance = Random(mode)  # noqa: S311 - a moment to die, not a secret
    ended = traced(life, mortals, watched=True)
    before_last_write = [
        step
        for step, state in zip(ended.steps, ended.states, strict=True)
        if state.lake != ended.states[-1].lake
    ]
    size = (shop.folder / ".cdpsync/catalog.ducklake").stat().st_size
    first_part = list(ALL_MODES).index(mode) % _TORN_STRIDE
    for part in range(first_part, _TORN_PARTS, _TORN_STRIDE):
        life.change()
        step = before_last_write[
            int((part + chance.random()) / _TORN_PARTS * len(before_last_write))
        ]
        life.die(mortals, at=step, limit=int(size ** chance.uniform(0.3, 1.02)))
    if len(life.deaths) < 2:
        for step in chance.sample(before_last_write[: len(before_last_write) // 2], 2):
            life.change()
            life.die(mortals, at=step, limit=int(size**0.3))
    life.clean_up(stored(shop))
    assert len(life.deaths) > 1


@pytest.mark.parametrize(
    ("shop", "mode"),
    [(store, mode) for store in _STORES for mode in (MODES if _EACH_STEP else _STORES[store])],
    indirect=["shop"],
)
def test_killed_at_a_step_on_the_way_to_a_bucket(
    shop: Shop, life: Life, mortals: Mortals, mode: str
) -> None:
    """A lake in a bucket survives the same deaths."""
    chance = Random(mode)  # noqa: S311 - a moment to die, not a secret
    for step in chance.sample(varied_states(traced(life, mortals, watched=True), chance), 3):
        life.change()
        life.die(mortals, at=step)
    life.clean_up(stored(shop))
    assert len(life.deaths) > 1


@pytest.mark.parametrize("mode", ["append_only", "deletes_hard"])
def test_full_disk_at_any_write_is_one_line(life: Life, mortals: Mortals, mode: str) -> None:
    """Whichever write is refused, the message names the place and the way out; all stays as it was.

    A limit on the size of files stands for the disk: the same calls fail, at any byte.
    """
    chance = Random(mode)  # noqa: S311 - a moment to fail, not a secret
    refused = 0
    steps = moments(traced(life, mortals).steps, chance)
    for part in range(_REFUSED):  # of the run, so that writes come after the first ones
        step = steps[int((part + chance.random()) / _REFUSED * len(steps))]
        life.change()
        ended = mortals.run(life.file, at=step, limit=chance.choice([0, 100, 5000]), full=True)
        assert not ended.killed
        assert "\n" not in ended.error
        if ended.error:
            refused += 1
            assert ended.error.startswith(("LandingError: ", "CatalogError: ", "/", "shop.")), ended
            assert str(life.file.parent) in ended.error
            assert "reached the size limit" in ended.error
        life.rerun(ended)
    assert refused
