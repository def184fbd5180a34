"""Secrets in a session: what one place shows to be one is one in all windows that are cut from it."""

from __future__ import annotations

import json
from pathlib import Path

from opencode_rows import History, bash, edit, text
from specialists.secrets import Rules, clean, scrub
from test_sessions_extraction import extract, history, records, work  # noqa: F401  (history is a fixture)

PASSWORD = "gK7#vRq2!xWm9"


def test_a_secret_that_one_window_gives_away_is_a_fake_in_all_of_them(
    config_file: Path,
    history: History,  # noqa: F811
) -> None:
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 2500\n")
    history.user("ses_1", f"The database has DB_PASSWORD={PASSWORD} in .env")
    for number in range(6):
        work(history, "ses_1", f"Part {number}")
        step = [bash("./log", f"{number} connected with {PASSWORD}\n" + "x " * 1500)]
        history.assistant("ses_1", history.user("ses_1", "And the log?"), *step)
    history.assistant(
        "ses_1", history.user("ses_1", "Last one"), text(f"I see {PASSWORD}."), edit("/home/kim/src/demo/a.rs")
    )
    work(history, "ses_1", "The end")
    run = extract(config_file, "--json")
    found = records(config_file, "rust")
    written = [path for path in (config_file.parent / "data").rglob("*") if path.is_file()]
    assert len(found) > 3 and not any(PASSWORD.encode() in path.read_bytes() for path in written)
    assert all(scrub(record, Rules()) == (record, []) for record in found)
    funnel = json.loads(run.stdout)["funnel"]
    assert funnel["lost"]["secret in target"] == 1 and funnel["secrets"] == 1
    last = found[-1]["messages"]
    (spoiled,) = [message for message in last if message["content"].startswith("I see ")]
    assert spoiled["weight"] == 0 and [m["content"] for m in last if m.get("weight") == 1][-1] == "Done."


def test_a_text_that_is_harmless_under_one_key_is_looked_at_again_under_another() -> None:
    call = {"function": {"name": "login", "arguments": json.dumps({"note": PASSWORD, "password": PASSWORD})}}
    messages = [{"role": "user", "content": PASSWORD}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    cleaned = clean(messages, {}, Rules())
    assert cleaned.spoiled == {0, 1} and PASSWORD not in json.dumps(cleaned.messages)
