"""Secrets and personal data: found, replaced by stable fakes, kept out of everything that is written."""

from specialists.secrets.redaction import (
    PERSONAL,
    SECRET,
    Find,
    Rules,
    SecretFinding,
    clean,
    cleaner,
    find,
    find_in,
    redact,
    scrub,
    stand_ins,
)
