"""Each action of each preset: what a user would write, rows that are sent, and those refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from support.destination_messages import WHSEC

Row = dict[str, Any]  # the values of a row, by column
Keys = dict[str, Any]  # the keys of a destination, as YAML has them

HOST = "@"  # stands for the server's address
RECENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@dataclass(frozen=True)
class Case:
    """An action, the keys of a destination beside `type` and `from`, and rows with an `id`.

    `refused` are the ids of the rows that the system does not take. `deletes` are rows that are
    there at first and deleted afterwards; of so many, `unknown`, the system has no record then.
    """

    preset: str
    action: str | None
    keys: Keys
    rows: list[Row]
    refused: frozenset[int] = frozenset()
    deletes: list[Row] = field(default_factory=list)
    unknown: int = 0

    @property
    def name(self) -> str:
        return f"{self.preset}-{self.action or 'default'}"


def people(count: int, bad: frozenset[int] = frozenset()) -> list[Row]:
    """Return rows of customers; the addresses of `bad` ones are none."""
    return [
        {
            "id": i,
            "email": f"nobody {i}" if i in bad else f"Person{i}@example.com",
            "name": f'Zoë "{i}" \\ O\'Neil\n',
            "phone": f"+1500555{i:04}",
            "plan": "pro" if i % 2 else "free",
            "spent": i * 1.25,
        }
        for i in range(1, count + 1)
    ]


def events(count: int, bad: frozenset[int] = frozenset()) -> list[Row]:
    """Return rows as received events have them; `bad` ones have no name and are of nobody."""
    return [
        {
            "id": i,
            "event": "" if i in bad else "order_paid",
            "distinct_id": "anonymous" if i in bad else f"user-{i:05}",
            "email": f"nobody {i}" if i in bad else f"person{i}@example.com",
            "timestamp": RECENT + timedelta(seconds=i),
            "properties": '{"total": 12.50, "sku": "ÄÖ \\"7\\""}',
            "total": 12.5,
        }
        for i in range(1, count + 1)
    ]


TWO = frozenset({3, 7})
ONE = frozenset({5})
SEGMENT = {"host": HOST, "write_key": "write-key", "user_id": "{{ distinct_id }}"}
RUDDER = {"dataplane": HOST, "write_key": "write-key", "user_id": "{{ distinct_id }}"}
HUBSPOT = {"host": HOST, "token": "pat-token"}
SLACK_HOOK = f"{HOST}/services/T00/B00/hook"
CUSTOMERIO = {"host": HOST, "site_id": "site", "api_key": "cio-key"}
POSTHOG = {"host": HOST, "api_key": "phc_key"}
KLAVIYO = {"host": HOST, "api_key": "pk_key", "email": "{{ email }}"}
BRAZE = {"host": HOST, "api_key": "braze-key"}
CLEVERTAP = {"host": HOST, "account_id": "account", "passcode": "passcode"}
MAILCHIMP = {"host": HOST, "api_key": "mailchimp-key", "list_id": "list1"}
ZENDESK = {"host": HOST, "email": "agent@example.com", "api_token": "zendesk-key"}
INTERCOM = {"host": HOST, "token": "intercom-token"}
AMPLITUDE = {"host": HOST, "api_key": "amplitude-key", "retry_after": "0.1"}  # not 30 s
GONE = [{**row, "id": 1011 + i, "email": f"old{i}@example.com"} for i, row in enumerate(people(3))]


def spec_cases(preset: str, common: Keys) -> list[Case]:
    """Return the calls of Segment's spec. Bad ones are dropped by both systems in silence."""
    keys = {
        "track": {"properties": "{{ properties }}"},
        "identify": {"traits": {"email": "{{ email }}", "total": "{{ total }}"}},
        "group": {"group_id": "{{ id }}", "traits": {"total": "{{ total }}"}},
        "page": {"name": "Home", "properties": {"path": "/"}},
        "screen": {"properties": {"path": "/"}},
        "alias": {"previous_id": "old-{{ id }}"},
    }
    return [Case(preset, action, {**common, **own}, events(25)) for action, own in keys.items()]


CASES = [
    Case("webhook", None, {"url": f"{HOST}/hooks/orders", "sign": WHSEC}, people(5)),
    Case("slack", "webhook", {"url": SLACK_HOOK, "text": "{{ name }} paid {{ spent }}"}, people(3)),
    Case(
        "slack",
        "message",
        {
            "host": HOST,
            "token": "xoxb-token",
            "channel": "C0123456789",
            "text": "{{ case when id <> 2 then name end }}",
            "blocks": '{{ case when id = 1 then \'[{"type": "divider"}]\'::json end }}',
        },
        people(3),
        frozenset({2}),
    ),
    Case(
        "discord",
        None,
        {
            "url": f"{HOST}/api/webhooks/1/token",
            "content": "@everyone {{ case when id = 2 then repeat('x', 2001) else name end }}",
        },
        people(3),
        frozenset({2}),
    ),
    Case(
        "teams",
        None,
        {
            "url": f"{HOST}/workflows/1/triggers/manual/paths/invoke?api-version=1&sig=signature",
            "title": "Paid",
            "text": "{{ name }} paid {{ spent }}",
        },
        people(3),
    ),
    Case("zapier", None, {"url": f"{HOST}/hooks/catch/1/hook/"}, people(5)),
    Case("posthog", "capture", POSTHOG, events(1200)),
    Case("posthog", "capture", POSTHOG, events(40, ONE), ONE),
    Case(
        "posthog",
        "identify",
        {
            **POSTHOG,
            "distinct_id": "{{ email }}",
            "set": {"plan": "{{ plan }}", "spent": "{{ spent }}"},
            "anonymous_id": "{{ 'anon-' || id }}",
        },
        people(25),
    ),
    Case(
        "posthog", "set", {**POSTHOG, "distinct_id": "{{ email }}", "set": "{{ row }}"}, people(5)
    ),
    Case(
        "posthog",
        "alias",
        {**POSTHOG, "distinct_id": "{{ id }}", "alias": "{{ email }}"},
        people(5),
    ),
    Case(
        "posthog",
        "group",
        {
            **POSTHOG,
            "group_type": "company",
            "group_key": "{{ id }}",
            "set": {"plan": "{{ plan }}"},
        },
        people(5),
    ),
    *spec_cases("segment", SEGMENT),
    *spec_cases("rudderstack", RUDDER),
    Case(
        "mixpanel",
        "import",
        {"host": HOST, "project_id": "7", "username": "service", "secret": "account"},
        events(2500, TWO),
        TWO,
    ),
    Case(
        "mixpanel",
        "profile",
        {
            "host": HOST,
            "token": "project-token",
            "distinct_id": "{{ case when id in (3, 7) then 'null' else email end }}",
            "set": {"plan": "{{ plan }}", "$email": "{{ email }}"},
        },
        people(20),
        TWO,
        deletes=GONE,
    ),
    Case("amplitude", "event", AMPLITUDE, events(50, TWO), TWO),
    Case("amplitude", "identify", {**AMPLITUDE, "set": {"total": "{{ total }}"}}, events(9)),
    Case(
        "clevertap",
        "profile",
        {
            **CLEVERTAP,
            "identity": "{{ id }}",
            "properties": {"Email": "{{ email }}", "Plan": "{{ plan }}"},
        },
        people(30, TWO),
        TWO,
        deletes=GONE,
    ),
    Case(
        "clevertap", "event", {**CLEVERTAP, "identity": "{{ distinct_id }}"}, events(30, TWO), TWO
    ),
    Case(
        "hubspot",
        "contact",
        {**HUBSPOT, "properties": {"firstname": "{{ name }}", "spent": "{{ spent }}"}},
        people(150, TWO),
        TWO,
    ),
    Case(
        "hubspot",
        "company",
        {
            **HUBSPOT,
            "id_property": "shop_id",
            "id": "{{ id }}",
            "properties": {"name": "{{ name }}"},
        },
        people(5),
    ),
    Case(
        "hubspot",
        "object",
        {
            **HUBSPOT,
            "object": "2-123456",
            "id_property": "shop_id",
            "id": "{{ id }}",
            "properties": {"name": "{{ name }}"},
        },
        people(5),
    ),
    Case(
        "hubspot",
        "event",
        {
            **HUBSPOT,
            "event": "pe7_{{ event }}",
            "email": "{{ email }}",
            "properties": {"total": "{{ total }}"},
            "occurred_at": "{{ timestamp }}",
        },
        events(40, ONE),
        ONE,
    ),
    Case(
        "salesforce",
        "upsert",
        {
            "host": HOST,
            "access_token": "session",
            "object": "Contact",
            "external_id": "Ext__c",
            "fields": {
                "Ext__c": "{{ id::varchar }}",
                "LastName": "{{ name }}",
                "Email": "{{ email }}",
            },
            "id": "{{ case when id = 1011 then 'gone' else id::varchar end }}",
        },
        people(250, TWO),
        TWO,
        deletes=GONE,
        unknown=1,
    ),
    *(
        Case(
            "salesforce",
            "upsert",
            {
                "host": HOST,
                "client_id": "3MVG9consumer",
                "client_secret": "CONSUMERSECRET",
                **refresh_token,
                "object": "Contact",
                "external_id": "Ext__c",
                "fields": {"Ext__c": "{{ id::varchar }}", "LastName": "{{ name }}"},
            },
            people(5),
        )
        for refresh_token in ({}, {"refresh_token": "5Aep861refresh"})
    ),
    Case(
        "intercom",
        "contact",
        {
            **INTERCOM,
            "match_value": "{{ case when id = 2 then 'there' else id::varchar end }}",
            "fields": {
                "external_id": "{{ case when id = 2 then 'there' else id::varchar end }}",
                "email": "{{ email }}",
                "custom_attributes": {"plan": "{{ plan }}"},
            },
        },
        people(8, ONE),
        ONE,
        deletes=GONE,
    ),
    Case(
        "intercom",
        "event",
        {
            **INTERCOM,
            "user_id": "{{ case when id = 5 then 'nobody' else distinct_id end }}",
            "created_at": "{{ timestamp }}",
            "metadata": {"total": "{{ total }}"},
        },
        events(8),
        ONE,
    ),
    Case(
        "attio",
        None,
        {
            "host": HOST,
            "token": "attio-token",
            "values": {"email_addresses": ["{{ email }}"], "name": "{{ name }}"},
        },
        people(8, ONE),
        ONE,
    ),
    Case(
        "zendesk",
        "user",
        {
            **ZENDESK,
            "user": {
                "external_id": "{{ id::varchar }}",
                "name": "{{ name }}",
                "email": "{{ email }}",
            },
        },
        people(8, ONE),
        ONE,
    ),
    Case(
        "zendesk",
        "users",
        {**ZENDESK, "user": {"external_id": "{{ id::varchar }}", "name": "{{ name }}"}},
        people(150),
    ),
    Case(
        "zendesk",
        "ticket",
        {**ZENDESK, "ticket": {"subject": "Paid", "comment": {"body": "{{ name }} paid"}}},
        people(3),
    ),
    Case(
        "customerio",
        "identify",
        {
            **CUSTOMERIO,
            "identifiers": {"email": "{{ lower(email) }}"},
            "attributes": {
                "name": "{{ case when id in (3, 7) then repeat('x', 1001) else name end }}"
            },
        },
        people(40),
        TWO,
        deletes=GONE,
    ),
    Case(
        "customerio",
        "event",
        {
            **CUSTOMERIO,
            "identifiers": {"id": "{{ distinct_id }}"},
            "attributes": "{{ properties }}",
            "timestamp": "{{ timestamp }}",
        },
        events(40, TWO),
        TWO,
    ),
    Case(
        "customerio",
        "delete",
        {**CUSTOMERIO, "identifiers": {"id": "{{ id::varchar }}"}},
        people(5),
    ),
    Case(
        "mailchimp",
        "members",
        {**MAILCHIMP, "status": "subscribed", "merge_fields": {"FNAME": "{{ name }}"}},
        people(600, TWO),
        TWO,
        deletes=[*GONE, {**GONE[0], "id": 1019, "email": "gone@example.com"}],
        unknown=1,
    ),
    Case("mailchimp", "member", MAILCHIMP, people(8, ONE), ONE),
    Case(
        "klaviyo",
        "profiles",
        {**KLAVIYO, "attributes": {"first_name": "{{ name }}"}},
        people(40, TWO),
        TWO,
    ),
    Case("klaviyo", "events", {**KLAVIYO, "properties": "{{ properties }}"}, events(40, TWO), TWO),
    Case("klaviyo", "profile", {**KLAVIYO, "phone_number": "{{ phone }}"}, people(8, ONE), ONE),
    Case(
        "klaviyo",
        "event",
        {
            **KLAVIYO,
            "properties": "{{ properties }}",
            "time": "{{ timestamp }}",
            "value": "{{ total }}",
        },
        events(8, ONE),
        ONE,
    ),
    Case(
        "braze",
        "attributes",
        {
            **BRAZE,
            "external_id": "{{ id }}",
            "attributes": {"email": "{{ email }}", "plan": "{{ plan }}"},
        },
        people(160, TWO),
        TWO,
        deletes=GONE,
    ),
    Case(
        "braze",
        "event",
        {**BRAZE, "external_id": "{{ distinct_id }}", "time": "{{ timestamp }}"},
        events(80, TWO),
        TWO,
    ),
    Case(
        "braze",
        "purchase",
        {
            **BRAZE,
            "external_id": "{{ distinct_id }}",
            "product_id": "{{ id }}",
            "currency": "{{ case when id in (3, 7) then 'euro' else 'EUR' end }}",
            "price": "{{ total }}",
        },
        events(20),
        TWO,
    ),
    Case(
        "sendgrid",
        "contact",
        {"host": HOST, "api_key": "SG.key", "fields": {"first_name": "{{ name }}"}},
        people(40, ONE),
        ONE,
    ),
    Case(
        "sendgrid",
        "contact_in_list",
        {"host": HOST, "api_key": "SG.key", "list_id": "0f1a2b3c-4d5e-4f60-8a7b-9c0d1e2f3a4b"},
        people(5),
    ),
    Case(
        "google_ads",
        None,
        {
            "host": HOST,
            "access_token": "ya29.token",
            "developer_token": "developer",
            "customer_id": "1234567890",
            "conversion_action": "42",
            "time": "{{ timestamp }}",
            "gclid": "{{ case when id in (3, 7) then 'expired' else 'click-' || id end }}",
            "email": "{{ email }}",
            "phone": "{{ case when id % 2 = 0 then '+15005550006' end }}",
            "value": "{{ total }}",
            "currency": "EUR",
        },
        events(40),
        TWO,
    ),
    Case(
        "google_ads",
        None,
        {
            "host": HOST,
            "token_url": f"{HOST}/token",
            "client_id": "1-a.apps.googleusercontent.com",
            "client_secret": "GOCSPX-secret",
            "refresh_token": "1//refresh",
            "developer_token": "developer",
            "customer_id": "1234567890",
            "conversion_action": "42",
            "gclid": "{{ 'click-' || id }}",
        },
        events(5),
    ),
    Case(
        "meta",
        None,
        {
            "host": HOST,
            "pixel_id": "1234",
            "access_token": "EAAG",
            "event": "Purchase",
            "time": "{{ case when id = 5 then timestamp - interval 8 days else timestamp end }}",
            "email": "{{ email }}",
            "client_user_agent": "curl",
            "custom_data": {"value": "{{ total }}", "currency": "EUR"},
        },
        events(40),
        ONE,
    ),
    Case(
        "loops",
        "contact",
        {
            "host": HOST,
            "api_key": "loops-key",
            "fields": {"firstName": "{{ name }}", "plan": "{{ plan }}"},
        },
        people(8, ONE),
        ONE,
        deletes=[*GONE, {**GONE[0], "id": 1019, "email": "gone@example.com"}],
        unknown=1,
    ),
    Case(
        "loops",
        "event",
        {
            "host": HOST,
            "api_key": "loops-key",
            "email": "{{ email }}",
            "properties": {"total": "{{ total }}"},
        },
        events(8, ONE),
        ONE,
    ),
]
