"""Secrets and personal data: found, replaced by stable fakes, kept out of everything that is written."""

from specialists.secrets.fakes import PERSONAL, SECRET, Find, SecretFinding
from specialists.secrets.redaction import Rules, clean, cleaner, find, find_in, leaves, redact, scrub, stand_ins
