"""The MySQL connector keeps every promise of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.testing import conforms
from cdpsync_connectors.mysql.connector import MysqlConnector

if TYPE_CHECKING:
    from support.mysql_server import MariaDatabase

ORDERS = """
    create table orders (
        id bigint primary key, day date, at timestamp(6) null, rev int, amount decimal(12,2),
        free decimal(60,20), note text, data json, raw blob, said datetime(3)
    );
    insert into orders
    select seq, date '2024-01-01' + interval seq div 7 day,
        timestamp '2024-01-01 00:00:00' + interval seq div 5 second, nullif(seq % 10, 3),
        seq * 1.01, seq / 4, repeat(char(65 + seq % 26), seq % 50), json_object('n', seq),
        unhex(md5(seq)), timestamp '2024-01-01 00:00:00.125' + interval seq minute
    from seq_1_to_3000;
    insert into orders (id) values (0);
    create view large as select * from orders where id > 1000;
    create table `Empty "one; two` (id int primary key, `strange; name` text)
"""


def test_mysql(maria: MariaDatabase) -> None:
    """Over a table, a view, an empty table with strange names."""
    maria.execute(ORDERS)
    broken = [
        {"url": maria.url.replace(maria.password, "wrong-password")},
        {"url": "mysql://nobody:hunter2@127.0.0.1:1/none"},
        {"url": maria.url.rsplit("/", 1)[0] + "/no_such_database"},
    ]
    conforms(MysqlConnector, {"url": maria.url}, broken=broken)
