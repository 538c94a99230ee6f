"""The connector's streams and columns, compared with Stripe's library and documentation."""

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
from support.stripe_lists import CREATED_LISTS, EXPANDABLE
from support.stripe_reading import connected
from support.stripe_server import KEY, NOW, FakeStripe, fake_stripe, refusal

from cdpsync_connectors.stripe.columns import TIME, columns_of
from cdpsync_connectors.stripe.options import API_VERSION
from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(library.__file__).parent
FILES = {
    "account": "_account",
    "account_tax_ids": "_tax_id",
    "active_entitlements": "entitlements/_active_entitlement",
    "billing_meters": "billing/_meter",
    "checkout_sessions": "checkout/_session",
    "credit_balance_transactions": "billing/_credit_balance_transaction",
    "credit_grants": "billing/_credit_grant",
    "disputes": "_dispute",
    "early_fraud_warnings": "radar/_early_fraud_warning",
    "entitlement_features": "entitlements/_feature",
    "issuing_authorizations": "issuing/_authorization",
    "issuing_cardholders": "issuing/_cardholder",
    "issuing_cards": "issuing/_card",
    "issuing_disputes": "issuing/_dispute",
    "issuing_transactions": "issuing/_transaction",
}
LISTS = {
    "payment_methods": "_customer_payment_method",
}
EPOCH = re.compile(
    r"epoch|timestamp|^Date |^The date|the date the|time (at|when|that|of)|^Time|latest time"
    r"|[Tt]he (start|end) (of|time)|the (beginning|end) of that|time period|dates\. It|A date",
)
NOT_TIMES = {"interval_count", "days_until_due", "trial_period_days", "duration_in_months"}


def file_of(stream: str) -> str:
    return FILES.get(stream, f"_{stream.removesuffix('s')}")


def fields_of(stream: str) -> dict[str, tuple[str, str]]:
    """The annotation and the description of each field of the library's class."""
    tree = ast.parse((FOLDER / f"{file_of(stream)}.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    body = next(node.body for node in classes if "OBJECT_NAME" in ast.unparse(node.body))
    fields = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value.value if _is_text(after) else ""
            fields[node.target.id] = (ast.unparse(node.annotation), " ".join(text.split()))
    not_fields = {"OBJECT_NAME", "deleted"}
    return {name: field for name, field in fields.items() if name not in not_fields}


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("stream", STREAMS)
def test_columns_are_those_of_the_library(stream):
    """The columns are the documented fields, except numbers that may have decimals."""
    fields = fields_of(stream)
    floats = {name for name, (type_, _) in fields.items() if "float" in type_}
    own = {STREAMS[stream].parent_column} - {""}
    assert {column.name for column in columns_of(stream)} == fields.keys() - floats | own


@pytest.mark.parametrize("stream", STREAMS)
def test_types_are_those_of_the_library(stream):
    """Each column has the documented type; an integer's description tells whether it is a time."""
    fields = fields_of(stream)
    own = {STREAMS[stream].parent_column: ("str", "")}
    for column in columns_of(stream):
        type_, description = {**own, **fields}[column.name]
        type_ = type_.removeprefix("Optional[").removesuffix("]")
        if type_ == "int":
            is_time = bool(EPOCH.search(description)) and column.name not in NOT_TIMES
            assert (column.type == TIME) == is_time, (column.name, description)
        elif type_ == "bool":
            assert column.type == "BOOLEAN"
        elif type_ in {"str", "Decimal"} or type_.startswith(("Literal[", "ExpandableField[")):
            assert column.type == "VARCHAR"
        else:
            assert column.type in {"JSON", "VARCHAR"}


@pytest.mark.parametrize("stream", [name for name, ours in STREAMS.items() if not ours.is_single])
def test_filters_are_those_of_the_library(stream):
    """A list is filtered by `created` if and only if it has that parameter."""
    base = LISTS.get(stream, file_of(stream))
    folder, _, name = base.rpartition("/")
    tree = ast.parse((FOLDER / "params" / folder / f"{name}_list_params.py").read_text())
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    named = [{n.target.id for n in body if isinstance(n, ast.AnnAssign)} for body in bodies]
    ours = STREAMS[stream]
    if not ours.is_per_parent:
        assert (ours.created is not None) == any({"created", "limit"} <= names for names in named)
    for parameter in (*ours.params, *ours.owner_fields):
        assert any(parameter in names for names in named)


@pytest.mark.parametrize("stream", [name for name, ours in STREAMS.items() if ours.expandable])
def test_expandable_fields_are_those_of_the_library(stream):
    """Each is a documented field that an object may lack: no other object has its values."""
    fields = fields_of(stream)
    types = {column.name: column.type for column in columns_of(stream)}
    for name in STREAMS[stream].expandable:
        assert fields[name][0].startswith("Optional[")
        assert types[name] == "JSON"


def test_server_leaves_out_what_must_be_asked_for():
    """docs.stripe.com/api/expanding_objects: the fake's fields are among those of the streams."""
    expandable = {ours.path[4:]: set(ours.expandable) for ours in STREAMS.values()}
    for name, fields in EXPANDABLE.items():
        assert fields <= expandable[name]


def test_types_of_events_are_those_of_the_library():
    """Every requested type exists, and no type of a stream's own object is missing."""
    source = (FOLDER / "params/_webhook_endpoint_create_params.py").read_text()
    documented = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', source))
    requested = {type_ for ours in STREAMS.values() for type_ in ours.event_types}
    assert requested <= documented
    not_requested = {
        "invoice.upcoming",  # a preview without an id
        "invoiceitem.created",
        "invoiceitem.deleted",  # because no event reports that an item changed
        "billing.alert.triggered",
    }
    own = re.compile(
        r"(charge|checkout\.session|coupon|credit_note|customer|invoice|invoiceitem|payment_intent|"
        r"payment_method|payout|plan|price|product|promotion_code|quote|refund|review|setup_intent|"
        r"subscription_schedule|tax_rate|topup|transfer|application_fee|invoice_payment|"
        r"payment_link|billing|entitlements|radar|"
        r"issuing_(authorization|card|cardholder|dispute|transaction))\.\w+(\.\w+)?"
    )
    assert {type_ for type_ in documented if own.fullmatch(type_)} - requested == not_requested


def test_pinned_version_is_the_librarys():
    """The columns are those of this version, so a new library needs a review of both."""
    assert library.api_version == API_VERSION


def test_streams_have_keys_and_changes():
    """Every stream has its key, and tells whether its changes can be followed."""
    with fake_stripe() as server, connected(server) as connector:
        streams = {stream.name: stream for stream in connector.discover()}
    assert len(streams) == 49
    assert all(stream.primary_key == ("id",) and stream.open_schema for stream in streams.values())
    assert {name for name, stream in streams.items() if stream.changes is None} == {
        "account",
        "account_tax_ids",
        "accounts",
        "entitlement_features",
        "events",
        "invoice_items",
        "shipping_rates",
    }
    assert streams["quotes"].cursor_fields == ()
    assert streams["invoice_items"].cursor_fields == ("date",)


# The fake server of the other tests: it does what is documented, and refuses everything else.


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
    return [int(object_["id"][-4:]) for object_ in page["data"]]


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


def test_unknown_parameters_and_ids_are_refused(stripe):
    """https://docs.stripe.com/api/errors: 400 with code and param."""
    for path in ("/v1/charges", "/v1/quotes"):
        status, error = ask(stripe, path, foo="1")
        assert (status, error["code"], error["param"]) == (400, "parameter_unknown", "foo")
    status, error = ask(stripe, "/v1/quotes", created__gte="1")
    assert (status, error["param"]) == (400, "created[gte]")
    status, error = ask(stripe, "/v1/charges", starting_after="ch_gone")
    assert (status, error["code"], error["param"]) == (400, "resource_missing", "starting_after")


def test_single_objects_exist_are_missing_or_stubs(stripe):
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


def test_server_has_every_list_of_ours(stripe):
    """The server answers the path of each stream's list."""
    for ours in STREAMS.values():
        if not ours.is_per_parent and not ours.is_single:
            assert ask(stripe, ours.path)["data"] == []
            assert (ours.created is not None) == (ours.path[4:] in CREATED_LISTS)
