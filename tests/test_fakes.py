"""Fakes that stand for secrets: of their shape, always the same, and known again from any part of one."""

import string

import secret_corpus
from hypothesis import given
from hypothesis import strategies as st
from specialists.secrets import fakes


@given(st.text(min_size=6, max_size=60))
def test_a_fake_keeps_the_shape_and_proves_itself(secret: str) -> None:
    fake = fakes.fake(secret)
    assert len(fake) == len(secret)
    for old, new in zip(secret, fake, strict=True):
        assert (old.isdigit(), old.isupper()) == (new.isdigit(), new.isupper()) or not old.isascii()
        assert old == new or (new.isascii() and new.isalnum())
    assert fakes.fake(secret) == fake
    if len(fakes.slots(secret)) >= fakes.LEAST:
        assert fakes.is_fake(fake)


def test_fakes_of_different_secrets_differ_and_secrets_are_no_fakes() -> None:
    maker = secret_corpus.Maker(3)
    secrets = [maker(24) for _ in range(500)]
    assert len({fakes.fake(secret) for secret in secrets}) > 490
    assert not any(fakes.is_fake(secret) for secret in secrets)
    assert not any(fakes.is_fake(maker(8, string.ascii_lowercase + string.digits)) for _ in range(2000))


def test_any_part_of_a_fake_proves_itself() -> None:
    fake = fakes.fake(secret_corpus.Maker(4)(40))
    assert all(fakes.is_fake(fake[start : start + 12]) for start in range(28))
