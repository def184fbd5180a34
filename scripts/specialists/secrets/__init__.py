"""Secrets and personal data: found, replaced by stable fakes, kept out of everything that is written."""

from specialists.secrets.fakes import PERSONAL, SECRET, Find, SecretFinding
from specialists.secrets.redaction import clean, cleaner, find, leaves, mapped, redact, scrub, stand_ins
from specialists.tables import Secrets as Rules
