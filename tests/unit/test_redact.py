"""Redaction: values of secrets are hidden, names of our own that sound like secrets are not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdpsync.redact import label, redact, remember_source

WORDS = ["password", "passwd", "pwd", "secret", "secret_access_key", "token", "api_key", "TOKEN"]
PLACES = [
    "app.{}: ",
    "app.public.{}: ",
    "app.my-{}: ",
    "error: app.{}: ",
    "stream {}: ",
    "/data/{}: ",
    "a, /data/in (old)/{}: ",
    "no file: /{}: ",
    "Set columns: {{types: {{{}: varchar}}}}",
]
words = st.sampled_from(WORDS)
sentences = st.lists(st.text("abcxyz/.019", min_size=1, max_size=8), min_size=1, max_size=5)
secrets = st.text("abcXYZ019!#$%^*()_+", min_size=4, max_size=12).filter(lambda s: "*" * 3 not in s)


@given(words, st.sampled_from(PLACES), sentences)
@example("secret", "inbox.{}: ", ["/in/secret.csv:", "cannot", "be", "read"])
def test_a_name_of_ours_is_no_secret(word: str, place: str, sentence: list[str]) -> None:
    """A message about a table, stream or path that is called `secret` is told as it is."""
    remember_source("app")
    remember_source("inbox")
    message = place.format(word) + " ".join(sentence)
    assert redact(message) == message
    assert redact(redact(message)) == message


@given(
    words,
    st.sampled_from(["{}: {}", "{}={}", "{} = '{}'", "{}:{}", "{} : {}", '{}="{}"']),
    secrets,
    st.sampled_from(
        ["", "no connection: ", "host=x ", "app: ", "other.", "the.app.", "app.t: ", "app.token: ",
         "app.secret: token: ", "stream of ", "user/", "x=/", "types: ", "{"],
    ),
)  # fmt: skip
def test_a_pair_in_a_drivers_message_is_hidden(
    word: str, pair: str, secret: str, before: str
) -> None:
    """Also behind a name of ours that sounds like a secret, and of a name that is no source."""
    remember_source("app")
    hidden = redact(f"{before}{pair.format(word, secret)} port=1")
    assert secret not in hidden
    assert hidden.endswith("*** port=1")


@given(words, st.sampled_from(["app.{}={}", "app.{}:{}", "app.{} : {}", "stream {}={}"]), secrets)
def test_only_a_colon_and_a_space_follow_a_name_of_ours(word: str, pair: str, secret: str) -> None:
    """Anything else is a pair."""
    remember_source("app")
    assert secret not in redact(pair.format(word, secret))


@pytest.mark.parametrize("name", ["token", "public.password", "my api_key"])
def test_a_label_is_quoted_only_where_it_must_be(name: str) -> None:
    """A source or stream without a place in front of it is quoted, so that its message is told."""
    assert label("orders") == "orders"
    assert label("tokens") == "tokens"
    message = f"{label(name)}: cannot be read"
    assert label(name) == f'"{name}"'
    assert redact(message) == message
