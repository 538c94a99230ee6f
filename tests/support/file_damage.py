"""Damages of a file's bytes: what copies, editors and disks do to files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage: its kind, where it is (modulo what there is), and the bytes that it is about."""

    kind: str
    at: int
    piece: bytes = b""

    def apply(self, content: bytes) -> bytes:
        """Return the damaged content."""
        place = self.at % (len(content) + 1)
        if self.kind == "cut":
            return content[:place]
        if self.kind == "flip" and content:
            return _flip(content, self.at % (len(content) * 8))
        if self.kind == "more":
            return content[:place] + self.piece + content[place:]
        if self.kind == "other" and content:
            place = self.at % len(content)
            return content[:place] + self.piece + content[place + 1 :]
        if self.kind == "less":
            return _without(content, self.piece, self.at)
        if self.kind == "behind":
            return content + self.piece
        if self.kind == "before":
            return self.piece + content
        if self.kind == "first less":  # a header that is one name short
            return content[content.find(self.piece) + len(self.piece) :]
        return content


def _flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _without(content: bytes, piece: bytes, number: int) -> bytes:
    """Return the content without one of the places where a piece stands."""
    pieces = content.split(piece)
    if len(pieces) == 1:
        return content
    first = number % (len(pieces) - 1) + 1
    return piece.join(pieces[:first]) + piece.join(pieces[first:])


places = st.integers(0, 1 << 16)


def damages(signs: Sequence[bytes], others: Sequence[bytes]) -> st.SearchStrategy[Damage]:
    """Return damages of a text: `signs` are of its format, `others` of another encoding."""
    return st.one_of(
        st.builds(Damage, st.just("cut"), places),
        st.builds(Damage, st.just("flip"), places),
        st.builds(Damage, st.just("less"), places, st.sampled_from(signs)),
        st.builds(Damage, st.just("other"), places, st.sampled_from(signs)),
        st.builds(Damage, st.just("more"), places, st.sampled_from([*signs, *others, b"\0"])),
        st.builds(Damage, st.just("before"), st.just(0), st.sampled_from([*signs, *others])),
        st.builds(Damage, st.just("behind"), st.just(0), st.sampled_from([*signs, *others])),
        st.builds(Damage, st.just("first less"), st.just(0), st.sampled_from(signs)),
    )


damages_of_bytes = st.one_of(
    st.builds(Damage, st.just("cut"), places),
    st.builds(Damage, st.just("flip"), places),
    st.builds(Damage, st.just("more"), places, st.binary(min_size=1, max_size=3)),
    st.builds(Damage, st.just("behind"), st.just(0), st.sampled_from([b"more", b"\0\0\0\0"])),
)
"""Damages of a compressed file, or of any other whose bytes are no text."""
