"""What is said of Stripe here, held against its own library and its documentation."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import stripe as library
from support.stripe_reading import connected
from support.stripe_server import CREATED_LISTS, KEY, NOW, FakeStripe, fake_stripe, refusal

from cdpsync_connectors.stripe.columns import TIME, columns_of
from cdpsync_connectors.stripe.options import API_VERSION
from cdpsync_connectors.stripe.streams import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(library.__file__).parent
FILES = {
    "checkout_sessions": "checkout/_session",
    "account": "_account",
    "disputes": "_dispute",
}
LISTS = {
    "checkout_sessions": "checkout/_session",
    "payment_methods": "_customer_payment_method",
}
EPOCH = re.compile(
    r"epoch|timestamp|^Date |^The date|the date the|time (at|when|that)|^Time|latest time"
    r"|[Tt]he (start|end) (of|time)|the (beginning|end) of that|time period|dates\. It|A date",
)
NOT_TIMES = {"interval_count", "days_until_due", "trial_period_days", "duration_in_months"}


def file_of(stream: str) -> str:
    return FILES.get(stream, f"_{stream.removesuffix('s')}")


def fields_of(stream: str) -> dict[str, tuple[str, str]]:
    """The annotation and the description of each field of the library's class."""
    tree = ast.parse((FOLDER / f"{file_of(stream)}.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    body = next(one.body for one in classes if "OBJECT_NAME" in ast.unparse(one.body))
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = after.value.value if _is_text(after) else ""
            found[node.target.id] = (ast.unparse(node.annotation), " ".join(said.split()))
    return {name: said for name, said in found.items() if name not in {"OBJECT_NAME", "deleted"}}


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("stream", TABLES)
def test_columns_are_those_of_the_library(stream):
    """Each documented field is a column, but for numbers with decimals; none is made up."""
    fields = fields_of(stream)
    floats = {name for name, (type_, _) in fields.items() if "float" in type_}
    assert {column.name for column in columns_of(stream)} == fields.keys() - floats


@pytest.mark.parametrize("stream", TABLES)
def test_types_are_those_of_the_library(stream):
    """Integers are integers or times, as their description says; the rest likewise."""
    fields = fields_of(stream)
    for column in columns_of(stream):
        type_, said = fields[column.name]
        type_ = type_.removeprefix("Optional[").removesuffix("]")
        if type_ == "int":
            is_time = bool(EPOCH.search(said)) and column.name not in NOT_TIMES
            assert (column.type == TIME) == is_time, (column.name, said)
        elif type_ == "bool":
            assert column.type == "BOOLEAN"
        elif type_ in {"str", "Decimal"} or type_.startswith(("Literal[", "ExpandableField[")):
            assert column.type == "VARCHAR"
        else:
            assert column.type in {"JSON", "VARCHAR"}


@pytest.mark.parametrize("stream", [name for name, table in TABLES.items() if not table.is_single])
def test_filters_are_those_of_the_library(stream):
    """A list is read by `created` where, and only where, it has that parameter."""
    base = LISTS.get(stream, f"_{stream.removesuffix('s')}")
    folder, _, name = base.rpartition("/")
    tree = ast.parse((FOLDER / "params" / folder / f"{name}_list_params.py").read_text())
    bodies = [one.body for one in tree.body if isinstance(one, ast.ClassDef)]
    named = [{n.target.id for n in body if isinstance(n, ast.AnnAssign)} for body in bodies]
    table = TABLES[stream]
    assert (table.created is not None) == any({"created", "limit"} <= names for names in named)
    for parameter in table.params:
        assert any(parameter in names for names in named)


def test_types_of_events_are_those_of_the_library():
    """Every type that is asked for exists, and no type of a stream's own object is left out."""
    source = (FOLDER / "params/_webhook_endpoint_create_params.py").read_text()
    known = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', source))
    asked = {type_ for table in TABLES.values() for type_ in table.events}
    assert asked <= known
    passed_over = {
        "invoice.upcoming",  # a preview without an id
        "invoiceitem.created",
        "invoiceitem.deleted",  # nothing tells of an item that is changed
    }
    own = re.compile(
        r"(charge|checkout\.session|coupon|credit_note|customer|invoice|invoiceitem|payment_intent|"
        r"payment_method|payout|plan|price|product|promotion_code|quote|refund|review|setup_intent|"
        r"subscription_schedule|tax_rate|topup|transfer|application_fee)\.\w+(\.\w+)?"
    )
    assert {type_ for type_ in known if own.fullmatch(type_)} - asked == passed_over


def test_pinned_version_is_the_librarys():
    """The columns are of this version; a new library means a look at both."""
    assert library.api_version == API_VERSION


def test_streams_are_those_promised():
    """Every stream says its key, and whether its changes can be followed."""
    with fake_stripe() as server, connected(server) as connector:
        streams = {stream.name: stream for stream in connector.discover()}
    assert len(streams) == 29
    assert all(stream.primary_key == ("id",) and stream.open_schema for stream in streams.values())
    assert {name for name, stream in streams.items() if stream.changes is None} == {
        "account",
        "balance_transactions",
        "events",
        "invoice_items",
    }
    assert streams["quotes"].cursor_fields == ()
    assert streams["invoice_items"].cursor_fields == ("date",)


# The server that the other tests lean on: it does what is documented, and refuses the rest.


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe() as server:
        yield server


def ask(stripe: FakeStripe, path: str, **params: Any) -> Any:
    headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": API_VERSION}
    query = urlencode(
        {key.replace("__", "[") + "]" * ("__" in key): v for key, v in params.items()}
    )
    try:
        with urlopen(Request(f"{stripe.url}{path}?{query}", headers=headers)) as answer:  # noqa: S310
            return json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]


def numbers(page: Any) -> list[int]:
    return [int(one["id"][-4:]) for one in page["data"]]


def test_pages_are_newest_first_and_go_both_ways(stripe):
    """https://docs.stripe.com/api/pagination: limit 1 to 100, starting_after, ending_before."""
    for number in range(1, 31):
        stripe.add("charges", created=NOW + number)
    page = ask(stripe, "/v1/charges")
    assert (numbers(page), page["has_more"]) == (list(range(30, 20, -1)), True)
    page = ask(stripe, "/v1/charges", limit=100, starting_after="ch_00000003")
    assert (numbers(page), page["has_more"]) == ([2, 1], False)
    page = ask(stripe, "/v1/charges", limit=2, ending_before="ch_00000003")
    assert (numbers(page), page["has_more"]) == ([5, 4], True)
    for limit in (0, 101):
        assert ask(stripe, "/v1/charges", limit=limit)[0] == 400
    both = {"starting_after": "ch_00000001", "ending_before": "ch_00000002"}
    assert ask(stripe, "/v1/charges", **both)[0] == 400


def test_created_filters_at_both_ends(stripe):
    """https://docs.stripe.com/api/charges/list: gt, gte, lt and lte, in seconds."""
    for number in range(1, 6):
        stripe.add("charges", created=NOW + number)
    assert numbers(ask(stripe, "/v1/charges", created__gte=NOW + 2, created__lt=NOW + 4)) == [3, 2]
    assert numbers(ask(stripe, "/v1/charges", created__gt=NOW + 2, created__lte=NOW + 4)) == [4, 3]


def test_unknown_parameters_and_places_are_refused(stripe):
    """https://docs.stripe.com/api/errors: 400 with code and param."""
    for path in ("/v1/charges", "/v1/quotes"):
        status, error = ask(stripe, path, foo="1")
        assert (status, error["code"], error["param"]) == (400, "parameter_unknown", "foo")
    status, error = ask(stripe, "/v1/quotes", created__gte="1")
    assert (status, error["param"]) == (400, "created[gte]")
    status, error = ask(stripe, "/v1/charges", starting_after="ch_gone")
    assert (status, error["code"], error["param"]) == (400, "resource_missing", "starting_after")


def test_single_objects_are_found_missing_or_stubs(stripe):
    """404 with resource_missing; `deleted: true` for a deleted customer
    (https://docs.stripe.com/api/customers/retrieve)."""
    stripe.add("customers")
    assert ask(stripe, "/v1/customers/cus_00000001")["object"] == "customer"
    stripe.delete("customers", "cus_00000001")
    assert ask(stripe, "/v1/customers/cus_00000001")["deleted"] is True
    assert ask(stripe, "/v1/customers/cus_2")[0] == 404


def test_events_are_filtered_by_up_to_20_types(stripe):
    """https://docs.stripe.com/api/events/list: `types`, and 30 days back."""
    stripe.add("events", type="a.b", data={"object": {}}, created=NOW - 31 * 86400)
    stripe.event("a.b", {"id": "1"})
    stripe.event("a.c", {"id": "2"})
    assert numbers(ask(stripe, "/v1/events", types__0="a.b")) == [2]
    assert numbers(ask(stripe, "/v1/events")) == [3, 2]
    assert ask(stripe, "/v1/events", **{f"types__{n}": n for n in range(21)})[0] == 400


def test_subscriptions_hide_canceled_ones_unless_asked(stripe):
    """https://docs.stripe.com/api/subscriptions/list: status=all."""
    stripe.add("subscriptions", status="canceled")
    assert ask(stripe, "/v1/subscriptions")["data"] == []
    assert len(ask(stripe, "/v1/subscriptions", status="all")["data"]) == 1


def test_errors_are_as_documented(stripe):
    """https://docs.stripe.com/api/errors: 401 for a wrong key, 429 with Retry-After."""
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{stripe.url}/v1/charges")  # noqa: S310
    stripe.on_request = lambda *_: refusal(429, "Too many requests", Retry_After="3")
    assert ask(stripe, "/v1/charges")[1]["type"] == "rate_limit_error"


def test_every_list_of_ours_is_there(stripe):
    """Each path that a stream is read by is answered."""
    for table in TABLES.values():
        if table.parent is None and not table.is_single:
            assert ask(stripe, table.path)["data"] == []
            assert (table.created is not None) == (table.path[4:] in CREATED_LISTS)
