"""The prompt of `query`, on a terminal, over a real lake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from cdpsync import sync

if TYPE_CHECKING:
    from pathlib import Path


def type_at_prompt(folder: Path, *lines: str) -> list[str]:
    """Return what the terminal shows for each line, once the prompt is back."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cdpsync", "-C", str(folder), "query"]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown, remaining, answers = "", [*lines, "\\q"], []
    try:
        while data := os.read(ours, 65536):
            shown += data.decode(errors="replace")
            if shown.endswith("cdpsync> "):
                answers.append(shown)
                shown = ""
                os.write(ours, f"{remaining.pop(0)}\n".encode())
    except OSError:  # Linux says EIO when the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    assert remaining == []
    return [re.sub(r"\r\n", "\n", answer) for answer in answers]


def test_prompt_knows_what_other_prompts_know(tmp_path: Path) -> None:
    """`use`, the tables and their columns, help, and the count of an answer that is cut."""
    for name in ("shop/orders", "shop/plans", "crm/orders"):
        file = tmp_path / f"{name}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("id,total\n1,2.5\n")
    with (tmp_path / "shop/orders.csv").open("a") as opened:
        opened.writelines(f"{number},1.5\n" for number in range(2, 5002))
    (tmp_path / "cdpsync.yml").write_text(
        "sources:\n  shop: {type: files, path: shop}\n  crm: {type: files, path: crm}\n"
    )
    sync.run(tmp_path / "cdpsync.yml")
    hint, *answers = type_at_prompt(
        tmp_path,
        "use shop;",
        "from orders;",
        "select count(*) as n from orders join crm.orders using (id);",
        "\\d",
        ".tables",
        "\\d plans",
        "\\d orders",
        ".schema crm.orders",
        ".schema",
        "\\?",
        "use shp;",
        "\\d ordrs",
        "\\x",
        "select * from cdpsync.runs limit 0;",
        "use lake;",
        "from plans;",
        "\\d orders",
    )
    use, cut, count, tables, tables_too, plans, orders, crm, every, help_, shp, ordrs, x, *rest = (
        answers
    )
    assert "\\? helps" in hint
    assert "tables without a schema are those of shop" in use
    assert "1,000 of 5,001 rows shown." in cut
    assert re.search(r"^5,001 rows, ", cut, re.MULTILINE)
    assert re.search(r"^1$", count, re.MULTILINE)
    for listed in (tables, tables_too):
        assert re.search(r"crm +orders\n *shop +orders\n *shop +plans", listed)
    assert re.search(r"shop.plans +id +BIGINT +.*\n *shop.plans +total", plans)
    assert "shop.orders" in orders
    assert "crm.orders" not in orders  # the schema in use comes first
    assert "crm.orders" in crm
    assert "shop" not in crm.split("\n", 1)[1]
    assert {"crm.orders", "shop.orders", "shop.plans"} <= set(re.findall(r"\w+\.\w+", every))
    assert ".tables" in help_
    assert 'there is no schema "shp". Did you mean shop?' in shp
    assert 'there is no table "ordrs". Did you mean' in ordrs
    assert '"\\x" is not a command. \\? lists them.' in x
    _, lake, from_plans, both = rest
    assert "error" not in lake
    assert "error" in from_plans  # no schema is in use any more
    assert "crm.orders" in both
    assert "shop.orders" in both
