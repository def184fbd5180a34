"""Hostile repositories: each would make a plain git run a program of theirs, or show what is not there."""

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import git_repositories as repositories
import pytest
from git_repositories import HISTORY, ME, git, loose
from specialists.commits.mining import Miner
from specialists.config import load_config
from specialists.records import canonical

CANARY = "canary-4711"


class Trap(NamedTuple):
    """How to set a trap in a repository, and what springs it: a plain git command, which has to leave the canary."""

    name: str
    plant: Callable[[Path, Path], object]  # (repository, a program that leaves the canary)
    spring: tuple[str, ...]
    content: bool = False  # the canary is a text in what git shows, not a file
    examples: int = len(HISTORY)


def config(*pairs: tuple[str, str]) -> Callable[[Path, Path], None]:
    """Sets keys of the repository's configuration; PROGRAM stands for the program."""

    def plant(folder: Path, program: Path) -> None:
        for key, value in pairs:
            git(folder, "config", key, value.replace("PROGRAM", str(program)))

    return plant


def attributes(*pairs: tuple[str, str]) -> Callable[[Path, Path], None]:
    def plant(folder: Path, program: Path) -> None:
        (folder / ".git" / "info").mkdir(exist_ok=True)
        (folder / ".git" / "info" / "attributes").write_text("*.py diff=evil filter=evil\n")
        config(*pairs)(folder, program)

    return plant


def signed(folder: Path, program: Path) -> None:
    config(("gpg.program", "PROGRAM"), ("log.showSignature", "true"))(folder, program)
    text = git(folder, "cat-file", "commit", "HEAD")
    signature = "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n"
    content = text.replace("\n\n", signature, 1).encode()
    made = git(folder, "hash-object", "-t", "commit", "-w", "--stdin", input=content)
    git(folder, "update-ref", "refs/heads/main", made)


def hooks(folder: Path, program: Path) -> None:
    away = folder / "away"
    away.mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        os.link(program, away / name)
        (folder / ".git" / "hooks").mkdir(exist_ok=True)
        os.link(program, folder / ".git" / "hooks" / name)
    git(folder, "config", "core.hooksPath", str(away))


def partial(url: str, *pairs: tuple[str, str]) -> Callable[[Path, Path], None]:
    promised = {"partialCloneFilter": "blob:none", "promisor": "true", "url": url}
    extension = [("core.repositoryFormatVersion", "1"), ("extensions.partialClone", "origin")]

    def plant(folder: Path, program: Path) -> None:
        loose(folder, "HEAD:factor.py").unlink()
        remote = [(f"remote.origin.{key}", value) for key, value in promised.items()]
        config(*extension, *remote, *pairs)(folder, program)

    return plant


def included(folder: Path, program: Path) -> None:
    (folder / "evil.conf").write_text(f"[core]\n\tfsmonitor = {program}\n[user]\n\temail = {CANARY}@example.org\n")
    git(folder, "config", "include.path", "../evil.conf")


def replaced(folder: Path, _program: Path) -> None:
    content = git(folder, "hash-object", "-w", "--stdin", input=f"FACTOR = '{CANARY}'\n".encode())
    git(folder, "replace", git(folder, "rev-parse", "HEAD:factor.py"), content)


def borrowed(folder: Path, _program: Path) -> None:
    """An object folder elsewhere holds another content under the name of a blob."""
    blob = git(folder, "rev-parse", "HEAD:factor.py")
    loose(folder, "HEAD:factor.py").unlink()
    outside = folder.parent / "outside" / "objects"
    (outside / blob[:2]).mkdir(parents=True)
    content = f"FACTOR = '{CANARY}'\n".encode()
    (outside / blob[:2] / blob[2:]).write_bytes(zlib.compress(b"blob %d\0%s" % (len(content), content)))
    (folder / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "objects" / "info" / "alternates").write_text(f"../../../outside/objects\n{folder}/nowhere\n")


def pointer(folder: Path, program: Path) -> None:
    config(("core.fsmonitor", "PROGRAM"), ("core.worktree", str(folder)))(folder, program)
    (folder / ".git").rename(folder.parent / "elsewhere.git")
    (folder / ".git").write_text("gitdir: ../elsewhere.git\n")


PAGERS = tuple((key, "PROGRAM") for key in ("core.pager", "pager.log", "pager.rev-parse", "core.editor"))
ALIASES = tuple((f"alias.{name}", "!PROGRAM") for name in ("peek", "rev-parse", "symbolic-ref", "log", "cat-file"))
TRAPS = [
    Trap("fsmonitor", config(("core.fsmonitor", "PROGRAM")), ("status",)),
    Trap("external diff", config(("diff.external", "PROGRAM")), ("diff", "HEAD~1", "HEAD")),
    Trap("diff command", attributes(("diff.evil.command", "PROGRAM")), ("diff", "HEAD~1", "HEAD")),
    Trap("textconv", attributes(("diff.evil.textconv", "PROGRAM")), ("log", "-p")),
    Trap("clean filter", attributes(("filter.evil.smudge", "PROGRAM")), ("checkout", "-q", "HEAD~1")),
    Trap("gpg program", signed, ("log",)),
    Trap("hooks path", hooks, ("checkout", "-q", "-b", "other")),
    Trap("ssh command", partial("ssh://localhost/x", ("core.sshCommand", "PROGRAM")), ("log", "-p"), examples=2),
    Trap("upload-pack", partial(".", ("remote.origin.uploadpack", "PROGRAM")), ("log", "-p"), examples=2),
    Trap("remote helper", partial("ext::PROGRAM", ("protocol.ext.allow", "always")), ("log", "-p"), examples=2),
    Trap("pager and alias", config(*PAGERS, *ALIASES), ("peek",)),
    Trap("include path", included, ("status",)),
    Trap("replace refs", replaced, ("log", "-p"), content=True),
    Trap("alternates outside", borrowed, ("show", "HEAD:factor.py"), content=True, examples=2),
    Trap(".git file", pointer, ("status",)),
]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repositories.make(tmp_path_factory.mktemp("made") / "sums", HISTORY, checkout=True)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_no_trap_springs(trap: Trap, history: Path, tmp_path: Path, config_file: Path) -> None:
    canary = tmp_path / CANARY
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {canary}\nexit 1\n")
    program.chmod(0o755)
    folder = tmp_path / "sums"
    shutil.copytree(history, folder)
    trap.plant(folder, program)
    before = repositories.state(tmp_path)

    settings = load_config(config_file)
    miner = Miner(settings, settings.language("python"))
    miner.mine(folder, [ME])
    miner.finish(50)

    assert repositories.state(tmp_path) == before, "something was written"
    assert (len(miner.records), miner.problems) == (trap.examples, [])
    assert CANARY not in canonical(miner.records)

    shown = git(folder, *trap.spring, check=False, input=b"")
    assert CANARY in shown if trap.content else canary.exists(), "the trap is none"
