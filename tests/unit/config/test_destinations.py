"""Destinations of the project file: the keys of a preset, and those of the file over them."""

from datetime import UTC, datetime, timedelta

import pytest
from support.config_cases import load

from cdpsync import redact
from cdpsync.errors import ConfigError
from cdpsync.model import TableName
from cdpsync.model.destinations import (
    Batch,
    ChangeKind,
    ChangeOrder,
    FindTemplate,
    Rate,
    Retry,
    Template,
)

CRM = """
docs: https://crm.example.com/docs
needs: [token]
defaults: {host: https://crm.example.com}
inputs:
  email: null
  name: "{{ name }}"
url: ${host}/people
auth: {bearer: "${token}"}
headers: {X-Version: "7"}
item: {email: "{{ email }}", name: "{{ name }}"}
body: {people: "{{ items }}"}
batch: {rows: 100, bytes: 1MB}
rate: [190/10s, {rows: 1000/s}]
partial: {when: "status = 207", failed: "response->'errors'", by: id}
retry: {attempts: 5, when: "status = 423"}
actions:
  person: {}
  event:
    needs: [shop]
    inputs: {event: "{{ event }}"}
    url: ${host}/${shop}/events
"""


@pytest.fixture
def crm(tmp_path):
    """A project folder with a preset of its own: `load(keys)` gives its destination."""
    folder = tmp_path / "destinations"
    folder.mkdir()
    (folder / "crm.yml").write_text(CRM)

    def destination(keys, environ=None, **more):
        text = f"destinations:\n  people: {{type: crm, {keys}}}\n"
        return load(tmp_path, text, environ or {}, **more).destinations["people"]

    return destination


def test_preset_and_project_file_make_one_destination(crm):
    """The preset's keys stand where the file gives none; headers, batch and retry are merged."""
    people = crm(
        "from: shop.customers as Profile, token: sesame-seeds, email: '{{ Profile.Email }}', "
        "headers: {X-Team: '{{ team }}'}, batch: {rows: 50}, start: all, every: 5m, key: id"
    )
    assert (people.table, people.alias) == (TableName("shop", "customers"), "Profile")
    assert (people.key, people.start, people.every) == (("id",), "all", timedelta(minutes=5))
    request = people.request
    assert request.url.text == "\0/people"
    assert request.url.constants == ("https://crm.example.com",)
    assert request.bearer.constants == ("sesame-seeds",)
    assert {name: text.text for name, text in request.headers.items()} == {
        "X-Version": "7",
        "X-Team": "{{ team }}",
    }
    assert request.body["people"].text == "{{ items }}"
    assert (people.batch.rows, people.batch.bytes) == (50, 1_000_000)
    assert people.rate == (Rate(190, timedelta(seconds=10)), Rate(1000, timedelta(seconds=1), True))
    assert people.retry == Retry(attempts=5)
    assert people.answers.retry == "status = 423"
    assert people.answers.failed_by == "id"
    assert people.inputs["email"].text == "{{ Profile.Email }}"
    assert people.inputs["name"].text == "{{ name }}"
    assert "crm.yml:" in people.inputs["name"].location
    assert people.on == {ChangeKind.INSERT, ChangeKind.UPDATE}
    assert people.order is ChangeOrder.LAST


def test_items_replace_the_body_of_a_preset_without_any(tmp_path):
    """A batch of webhook's is the list of its items, unless the file gives a body around them."""
    (tmp_path / "own.yml").write_text("url: https://x/\nbody: {row: '{{ row }}'}\n")
    keys = "type: ./own.yml, from: a.b, item: {id: '{{ id }}'}, batch: {rows: 5}"
    request = load(tmp_path, f"destinations:\n  a: {{{keys}}}\n").destinations["a"].request
    assert request.body is None
    keys += ", body: {all: '{{ items }}'}"
    request = load(tmp_path, f"destinations:\n  a: {{{keys}}}\n").destinations["a"].request
    assert set(request.body) == {"all"}


def test_action_adds_its_needs_and_inputs(crm):
    """An action's keys stand over the preset's; the file's stand over both."""
    people = crm("from: a.b, token: t, shop: berlin, email: x, action: event")
    assert people.request.url.text == "\0/\0/events"
    assert people.request.url.constants == ("https://crm.example.com", "berlin")
    assert set(people.inputs) == {"email", "name", "event"}


def test_values_from_outside_are_constants_and_hidden(crm):
    """A `${…}` is never a part of a template's text, and no message shows it."""
    people = crm(
        "from: a.b, token: '${CRM_TOKEN}', email: '{{ email }}-${SUFFIX_OF_ALL}'",
        {"CRM_TOKEN": "tok-12345678", "SUFFIX_OF_ALL": "{{ getenv('HOME') }}"},
    )
    assert people.request.bearer.constants == ("tok-12345678",)
    email = people.inputs["email"]
    assert email.text == "{{ email }}-\0"
    assert "getenv" not in email.text
    assert redact.redact("the token tok-12345678") == "the token ***"
    assert "tok-12345678" not in repr(people)


def test_a_query_has_its_values_from_outside(crm):
    """It is run and not rendered; no message shows them."""
    people = crm(
        "sql: \"select id from a.b where shop = '${SHOP_NAME}'\", key: id, token: t, email: x",
        {"SHOP_NAME": "berlin-mitte"},
    )
    assert people.sql.text == "select id from a.b where shop = 'berlin-mitte'"
    assert redact.redact("at berlin-mitte") == "at ***"


def test_a_missing_variable_is_that_destination_alone(tmp_path, crm):
    """Others can be sent, and the project can be looked at."""
    people = crm("from: a.b, token: '${CRM_TOKEN}', email: x")
    assert "CRM_TOKEN is not set" in people.problem
    assert people.request is None


def test_sql_start_deletes_and_mask(crm):
    """The other keys of a destination."""
    people = crm(
        "sql: 'select id, email from shop.customers', key: [id], token: t, email: '{{ email }}', "
        "on: [insert, delete], delete: {method: delete, url: 'https://x/{{ id }}'}, "
        'start: 2026-01-31T12:00:00, where: "id > 3", changes: each, '
        "mask: {by: '{{ id }}', every: 1h, after: 10}"
    )
    assert people.table is None
    assert people.sql.text == "select id, email from shop.customers"
    assert people.start == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert people.delete.method == "DELETE"
    assert people.delete.url.text == "https://x/{{ id }}"
    assert people.delete.bearer.constants == ("t",)
    assert people.where.text == "id > 3"
    assert people.order is ChangeOrder.EACH
    assert (people.mask.by.text, people.mask.every, people.mask.after) == (
        "{{ id }}",
        timedelta(hours=1),
        10,
    )


def test_find_then_create_or_update(tmp_path):
    """A record is looked for first; each step has the common headers."""
    text = """
destinations:
  people:
    type: ./own.yml
    from: a.b
"""
    (tmp_path / "own.yml").write_text(
        "headers: {A: b}\n"
        "find: {url: 'https://x/search', body: {q: '{{ email }}'}, id: response->>'id'}\n"
        "create: {url: 'https://x/new', body: {email: '{{ email }}'}}\n"
        "update: {method: PUT, url: 'https://x/{{ found }}', body: {email: '{{ email }}'}}\n"
    )
    request = load(tmp_path, text).destinations["people"].request
    assert isinstance(request, FindTemplate)
    assert request.id == "response->>'id'"
    assert request.update.url.text == "https://x/{{ found }}"
    assert request.update.headers == {"A": Template("b", f"{tmp_path / 'own.yml'}:1")}


def test_deletes_have_a_batch_of_their_own(tmp_path):
    """Without one they have that of the others; with null they are sent one by one."""
    (tmp_path / "own.yml").write_text("url: https://x\nitem: 1\nbatch: {rows: 75}\n")
    text = "destinations:\n  d: {type: ./own.yml, from: a.b, on: [delete], delete: %s}\n"
    batches = {
        "{url: https://x/del}": Batch(75),
        "{url: https://x/del, batch: {rows: 50}}": Batch(50),
        "{url: https://x/del, item: null, batch: null}": None,
    }
    for delete, batch in batches.items():
        destination = load(tmp_path, text % delete).destinations["d"]
        assert (destination.batch, destination.delete_batch) == (Batch(75), batch)


def test_search_that_creates_nothing(tmp_path):
    """`create: null`: where nothing is found, there is nothing to do."""
    (tmp_path / "own.yml").write_text(
        "find: {url: https://x, id: response->>'id'}\ncreate: null\n"
        "update: {method: DELETE, url: 'https://x/{{ found }}'}\n"
    )
    text = "destinations:\n  d: {type: ./own.yml, from: a.b}\n"
    request = load(tmp_path, text).destinations["d"].request
    assert isinstance(request, FindTemplate)
    assert request.create is None


LOGIN = "token_url: https://x/t, client_id: 7"


def test_oauth_of_a_users_own(crm):
    """The grant follows from what is given; secrets are hidden, and a number is a text."""
    keys = "from: a.b, token: t, email: x, auth: {oauth: {%s, %s}}"
    refreshing = crm(keys % (LOGIN, "refresh_token: '${R}', scope: a b"), {"R": "rrrr-1"})
    grant = refreshing.request.oauth
    assert (grant.grant, grant.client_id, grant.scope) == ("refresh_token", "7", "a b")
    assert (grant.refresh_token, grant.client_secret, grant.in_header) == ("rrrr-1", None, False)
    assert refreshing.request.bearer is None
    own = crm(keys % (LOGIN, "client_secret: plain-secret, client: header"))
    assert own.request.oauth.grant == "client_credentials"
    assert own.request.oauth.in_header
    assert redact.redact("rrrr-1 plain-secret https://x/t") == "*** *** https://x/t"
    assert "rrrr-1" not in repr(refreshing)


def test_token_or_oauth_of_a_preset(tmp_path):
    """What is given directly wins; else the rest is asked for, at the destination's place."""
    (tmp_path / "own.yml").write_text(
        "defaults: {access_token: '', client_id: '', client_secret: ''}\n"
        "url: https://x\n"
        "auth: {bearer: '${access_token}', oauth: {token_url: https://x/t, "
        "client_id: '${client_id}', client_secret: '${client_secret}'}}\n"
    )
    text = "destinations:\n  d: {type: ./own.yml, from: a.b%s}\n"
    given = load(tmp_path, text % ", access_token: abcd, client_id: c").destinations["d"].request
    assert (given.bearer.constants, given.oauth) == (("abcd",), None)
    client = load(tmp_path, text % ", client_id: c, client_secret: s").destinations["d"].request
    assert (client.bearer, client.oauth.client_id) == (None, "c")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text % "")
    assert raised.value.message == (
        f'{tmp_path}/cdpsync.yml:2: destination "d": oauth needs "client_id" and "client_secret". '
        "Add it, or a token that is given directly."
    )


WRONG = {
    f"from: a.b, token: t, email: x, auth: {{oauth: {{{LOGIN}}}}}": 'needs "client_secret". Add it',
    f"from: a.b, token: t, email: x, auth: {{oauth: {{{LOGIN}, grant: refresh_token}}}}": (
        'oauth needs "refresh_token"'
    ),
    f"from: a.b, token: t, email: x, auth: {{oauth: {{{LOGIN}, grant: password}}}}": "grant",
    f"from: a.b, token: t, email: x, auth: {{oauth: {{{LOGIN}, refresh_token: '{{{{ a }}}}'}}}}": (
        "credentials are the same for all rows"
    ),
    f"from: a.b, token: t, email: x, auth: {{oauth: {{{LOGIN}, secret: s}}}}": "client_secret",
    "from: a.b, token: t, email: x, auth: {oauth: x, basic: [a, b]}": '"auth" must be',
    "from: a.b, email: x": '"token" is missing',
    "from: a.b, token: t": '"email" is missing',
    "from: a.b, token: t, email: x, emial: y": 'Did you mean "email"?',
    "token: t, email: x": 'needs either "from"',
    "sql: select 1, token: t, email: x": '"sql" needs "key"',
    "from: orders, token: t, email: x": "must be a table of the lake",
    "from: a.b, token: t, email: x, on: [delete]": "deletes need a request of their own",
    "from: a.b, token: t, email: x, on: remove": "must be insert, update or delete",
    "from: a.b, token: t, email: x, rate: fast": "must be a rate. Write 50/s",
    "from: a.b, token: t, email: x, rate: 0/s": "must be a rate",
    "from: a.b, token: t, email: x, action: nothing": '"action" must be person or event',
    "from: a.b, token: t, email: x, start: soon": "must be now, all, or a time",
    "from: a.b, token: t, email: x, connections: 500": "must be less than or equal to 256",
    "from: a.b, token: t, email: x, mask: {by: x}": 'needs "every" (a duration) or "after"',
    "from: a.b, token: t, email: x, mask: {after: 3}": 'mask needs "by"',
    "from: a.b, token: t, email: x, auth: {basic: [a]}": '"auth" must be',
    "from: a.b, token: [t], email: x": '"token" must be a text',
    "from: a.b, token: t, email: x, headers: [a]": '"headers" must be a mapping',
    "from: a.b, token: t, email: x, delete: now": '"delete" must be a mapping',
    "from: a.b, token: t, email: x, find: {url: u, id: i}": '"find" needs "create" beside it',
    "from: a.b, token: t, email: x, method: 'P O'": "method",
    "from: a.b, token: t, email: x, as: array, body: {a: b}": "a batch without a body",
    "from: a.b, token: t, email: x, partial: {when: a, failed: b, id: c}": 'unknown key "id"',
}


@pytest.mark.parametrize("keys", WRONG)
def test_what_is_wrong_is_told_with_its_line(crm, keys):
    """One line: the file, the line, the destination, the key and the way out."""
    with pytest.raises(ConfigError) as raised:
        crm(keys)
    lines = raised.value.message.splitlines()
    assert len(lines) == 1
    assert 'cdpsync.yml:2: destination "people"' in lines[0]
    assert WRONG[keys] in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("destinations: [a]\n", '"destinations" must be a mapping'),
        ("destinations: {a: {from: x.y}}\n", '"type" is missing'),
        ("destinations: {a: {type: crmm, from: x.y}}\n", 'unknown type "crmm"'),
        ("destinations: {a: {type: ./none.yml, from: x.y}}\n", "there is no file"),
        ("destinations: {'a b': {type: crm}}\n", "Rename it"),
        ("destinations: {a: 3}\n", "must be a mapping"),
    ],
)
def test_a_destination_that_is_none(tmp_path, text, message):
    """The section itself, its names and its types."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert message in raised.value.message
