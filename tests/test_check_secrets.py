"""check-secrets: whatever was built is looked through, however it is encoded; what cannot be read is not clean."""

import json
from pathlib import Path

import pytest
import secret_corpus
from conftest import invoke
from specialists.secrets import Rules, redact

TOKEN = "ghp" + "_" + secret_corpus.Maker(5)(36)
PASSWORD = "Wr7" + "kQz2m" + "Bx9"


@pytest.fixture
def built(config_file: Path, tmp_path: Path):
    """Runs check-secrets over a folder of built files; returns (exit code, stderr, summary)."""
    (tmp_path / "data").mkdir()

    def check(*arguments: str) -> tuple[int, str, dict]:
        result = invoke("check-secrets", config_file, "--json", *arguments)
        return result.exit_code, result.stderr, json.loads(result.stdout.splitlines()[0])

    return check


def nested() -> str:
    inner = json.dumps({"env": json.dumps({"deep": json.dumps([json.dumps({"password": PASSWORD})])})})
    return json.dumps({"messages": [{"tool_calls": [{"function": {"arguments": inner}}]}]})


PLANTED = [
    ("data/rust.jsonl", "{}\n" + nested() + "\n", 2, "password"),
    ("data/broken.jsonl", '{"a\n{}\nTOKEN=' + TOKEN, 3, "github token"),
    ("adapters/a/state.json", json.dumps({"a": 1, "b": ["x", f'the\n"TOKEN={TOKEN}']}, indent=1), 5, "github token"),
    ("adapters/a/README.md", f'a\nb\npassword = "{PASSWORD}"\n', 3, "password"),
    ("reports/index.html", f"<p>\n{TOKEN}</p>", 2, "github token"),
    ("data/note.txt", f"TOKEN={TOKEN}".encode("utf-16"), 1, "github token"),
]


@pytest.mark.parametrize(("name", "content", "line", "kind"), PLANTED)
def test_what_was_built_is_looked_through(built, tmp_path: Path, name: str, content, line: int, kind: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, output, summary = built()
    assert code == 1
    assert summary["secrets"] == [{"file": str(path), "line": line, "kind": kind}]
    assert f"{path}:{line}: {kind}" in output and TOKEN not in output and PASSWORD not in output


def test_clean_files_and_their_fakes_pass(built, tmp_path: Path) -> None:
    texts_of = [redact(sample.text, Rules())[0] for sample in secret_corpus.secrets()] + secret_corpus.look_alikes()
    (tmp_path / "data" / "rust.jsonl").write_text("".join(json.dumps({"a": text}) + "\n" for text in texts_of))
    code, _told, summary = built()
    assert (code, summary["secrets"], summary["files"]) == (0, [], 1)


def test_what_cannot_be_read_is_not_clean(built, tmp_path: Path) -> None:
    (tmp_path / "data" / "gone.json").symlink_to(tmp_path / "nowhere")
    code, output, summary = built()
    assert code == 1 and "gone.json: cannot be read" in output and len(summary["unread"]) == 1
