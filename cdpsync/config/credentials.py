"""Builds the credentials of a request from `auth:`: user and password, a token, or OAuth."""

from __future__ import annotations

from dataclasses import dataclass

from cdpsync.config.destination_schema import OAuthSection
from cdpsync.config.nodes import Entry, Items, Scalar, Section
from cdpsync.config.problems import Place, Problems, quoted
from cdpsync.config.validate import validate
from cdpsync.model.destinations import OAuth, Template
from cdpsync.redact import remember

_FORMS = "{bearer: TOKEN}, {basic: [USER, PASSWORD]} or {oauth: {token_url: …, client_id: …}}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `auth:` says: one of these, or nothing."""

    basic: tuple[Template, Template] | None = None
    bearer: Template | None = None
    oauth: OAuth | None = None


def template(node: Scalar) -> Template:
    """Return a text as a template; a number or a boolean as its text."""
    return Template(node.own, str(node.place), node.put_in)


def build_credentials(section: Section, subject: str, problems: Problems) -> Credentials | None:
    """Return what a request's `auth:` says, or note what is wrong with it and return None.

    With both `bearer` and `oauth`, as presets have it, the token wins unless it is empty.
    """
    entry = section.entries.get("auth")
    if entry is None:
        return Credentials()
    parts = entry.node.entries if isinstance(entry.node, Section) else {}
    bearer, basic, oauth = (parts.get(name) for name in ("bearer", "basic", "oauth"))
    if set(parts) == {"basic"} and basic is not None and (pair := _pair(basic)) is not None:
        return Credentials(basic=pair)
    if parts and set(parts) <= {"bearer", "oauth"}:
        token = bearer.node if bearer is not None else None
        if isinstance(token, Scalar) and (token.value or oauth is None):
            return Credentials(bearer=template(token))
        if oauth is not None and (token is None or isinstance(token, Scalar)):
            preset = section.place if token is not None else None
            grant = _oauth(oauth, subject, problems, preset)
            return None if grant is None else Credentials(oauth=grant)
    problems.add(entry.place, f'{subject}: "auth" must be {_FORMS}. Correct it')
    return None


def _pair(entry: Entry) -> tuple[Template, Template] | None:
    items = entry.node.items if isinstance(entry.node, Items) else ()
    texts = [template(item) for item in items if isinstance(item, Scalar)]
    return (texts[0], texts[1]) if len(texts) == len(items) == 2 else None


def _oauth(entry: Entry, subject: str, problems: Problems, asked_at: Place | None) -> OAuth | None:
    """Return a grant. Values that a preset leaves empty are missing.

    `asked_at` is the place of a destination that fills in a preset, where a token would do, too.
    """
    node = entry.node
    if isinstance(node, Section):
        given = {name: part for name, part in node.entries.items() if not _is_empty(part)}
        entry = Entry(Section(given, node.place), entry.place)
    section = validate(entry, OAuthSection, f"{subject}, oauth", problems)
    if section is None:
        return None
    for secret in (section.client_secret, section.refresh_token):
        remember(secret)
    grant = section.grant or ("refresh_token" if section.refresh_token else "client_credentials")
    needed = {
        "token_url": section.token_url,
        "client_id": section.client_id,
        **({"client_secret": section.client_secret} if grant == "client_credentials" else {}),
        **({"refresh_token": section.refresh_token} if grant == "refresh_token" else {}),
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        or_token = ", or a token that is given directly" if asked_at else ""
        names = " and ".join(map(quoted, missing))
        problems.add(asked_at or entry.place, f"{subject}: oauth needs {names}. Add it{or_token}")
        return None
    if any("{{" in value for value in needed.values() if value):
        problems.add(entry.place, f"{subject}: oauth: credentials are the same for all rows")
        return None
    return OAuth(
        grant=grant,
        token_url=section.token_url or "",
        client_id=section.client_id or "",
        client_secret=section.client_secret,
        refresh_token=section.refresh_token if grant == "refresh_token" else None,
        scope=section.scope,
        in_header=section.client == "header",
        location=str(entry.place),
    )


def _is_empty(entry: Entry) -> bool:
    return isinstance(entry.node, Scalar) and entry.node.value in (None, "")
