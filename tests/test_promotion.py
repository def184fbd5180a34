"""What is served: verdicts acted on, owners' decisions, the way back; and `current` whole whenever a run is killed."""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from built_pipeline import files
from click.testing import Result
from conftest import invoke
from specialists import adapters, pipeline
from specialists.adapters import AdapterFolder, adapter_folder, last_decision, make_current
from specialists.client import Refused
from specialists.config import Config, Language, Problem, load_config
from specialists.records import write_json
from specialists.serving import effect, promotion


class Server:
    """Stands for the running vLLM: what it answers with, and how it misbehaves."""

    def __init__(self) -> None:
        self.running, self.serving = True, {}
        self.faults: list[str] = []  # of the effect check
        self.unapplied: set[str] = set()  # versions that have no effect in it
        self.wrong: list[str] = []  # of the request after a swap
        self.refuses: set[str] = set()
        self.dies_at: str | None = None

    def _die(self, request: str) -> None:
        if self.dies_at == request:
            self.running = False
            raise Problem("the running server does not answer")

    def models(self, config: Config) -> dict[str, str] | None:
        folders = {name: str(config.paths.adapters / name / version) for name, version in self.serving.items()}
        return {"base": "", **folders} if self.running else None

    def check_effect(self, config: Config, _language: Language, version: Path) -> list[str]:
        self._die("try it")
        faults = ["no effect"] if version.name in self.unapplied else self.faults
        write_json(version / effect.EFFECT, {"server": effect.served_as(config), "faults": faults})
        return faults

    def check_swapped(self, *_arguments: object) -> list[str]:
        self._die("ask it")
        return self.wrong

    def load(self, _config: Config, name: str, version: Path) -> None:
        self._die("load it")
        if version.name in self.refuses:
            raise Refused(f"refuses {version.name}", 400)
        self.serving[name] = version.name

    def unload(self, _config: Config, name: str) -> None:
        self.serving.pop(name, None)


@pytest.fixture
def config(config_file: Path) -> Config:
    return load_config(config_file)


@pytest.fixture
def folder(config: Config) -> AdapterFolder:
    return adapter_folder(config, config.language("rust"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr("specialists.server.served_models", server.models)
    monkeypatch.setattr(promotion, "served_models", server.models)
    monkeypatch.setattr(promotion, "load_adapter", server.load)
    monkeypatch.setattr(promotion, "unload_adapter", server.unload)
    monkeypatch.setattr(effect, "check_effect", server.check_effect)
    monkeypatch.setattr(effect, "check_swapped", server.check_swapped)
    monkeypatch.setattr(promotion, "check_adapter", lambda version, _: ["broken"] * ("broken" in version.name))
    return server


def make(folder: AdapterFolder, name: str, verdict: str = "promote") -> Path:
    """A version, trained and evaluated; the newest."""
    version = folder.path / name
    write_json(version / "manifest.json", {"version": name})
    write_json(version / "evaluation.json", {"verdict": verdict, "reason": "as measured"})
    files(version)
    folder.point("latest", version)
    return version


def run(script: str, config: Config, *options: str) -> Result:
    return invoke(script, config.path, "--language", "rust", *options)


def promoted(config: Config, folder: AdapterFolder, *names: str) -> None:
    """Versions that are promoted one after the other."""
    for name in names:
        make(folder, name)
        assert run("promote", config).exit_code == 0


def state(folder: AdapterFolder) -> tuple[str | None, str | None]:
    return folder.current and folder.current.name, folder.previous and folder.previous.name


CASES = {  # name: (version 2, its verdict, the server, what is decided, why, what is served)
    "promoted": ("2", "promote", {}, "promote", "as measured", "2"),
    "held": ("2", "hold", {}, "hold", "as measured", "1"),
    "blocked": ("2", "block", {}, "block", "as measured", "1"),
    "to be measured in the server": ("2", "wait", {"running": False}, "wait", "as measured", "1"),
    "no server": ("2", "promote", {"running": False}, "promote", "as measured", "2"),
    "broken file": ("2-broken", "promote", {}, "block", "broken", "1"),
    "mis-served": ("2", "promote", {"faults": ["applies it wrongly"]}, "block", "applies it wrongly", "1"),
    "refused": ("2", "promote", {"refuses": {"2"}}, "block", "refuses 2", "1"),
    "wrong after the swap": ("2", "promote", {"wrong": ["as the base"]}, "block", "as the base", "1"),
}


@pytest.mark.parametrize("case", CASES)
def test_acting_on_a_verdict(case, config, folder, server) -> None:
    name, verdict, change, decided, reason, serves = CASES[case]
    promoted(config, folder, "1")
    make(folder, name, verdict)
    vars(server).update(change)
    done = run("promote", config)
    assert done.exit_code == 0 and f"{name}: {decided}: {reason}" in done.output, done.output
    assert state(folder) == (serves, "1" if serves == "2" else None)
    assert adapters.is_decided(config, config.language("rust"))
    if server.running:
        assert server.serving == {"build-rust": serves}
    kept = {"version": name, "verdict": decided, "reason": reason, "current": serves}
    assert kept.items() <= last_decision(folder).items()
    lines = len(adapters.decisions(folder))
    assert run("promote", config).exit_code == 0
    assert len(adapters.decisions(folder)) == lines, "the same decision is not written twice"


def test_a_version_that_turns_out_worse_is_rolled_back_unless_the_owner_wanted_it(config, folder, server) -> None:
    promoted(config, folder, "1", "2")
    write_json(folder.path / "2" / "evaluation.json", {"verdict": "block", "reason": "newer work says so"})
    assert "2: block: newer work says so; serving 1" in run("promote", config).output
    assert state(folder) == ("1", None) and server.serving == {"build-rust": "1"}
    run("promote", config, "--force", "2", "--reason", "all the same")
    write_json(folder.path / "2" / "evaluation.json", {"verdict": "block", "reason": "still"})
    assert "2: block: still; serving 2" in run("promote", config).output
    write_json(folder.path / "2" / "evaluation.json", {"verdict": "promote", "reason": "better, but"})
    server.unapplied = {"2"}
    assert "2: block: no effect; serving 1" in run("promote", config).output


@pytest.mark.parametrize("request_", ["try it", "load it", "ask it"])
def test_a_server_that_dies_decides_nothing(request_, config, folder, server) -> None:
    promoted(config, folder, "1")
    make(folder, "2")
    server.dies_at = request_
    assert run("promote", config).exit_code == 1
    assert state(folder) == ("1", None) and not adapters.is_decided(config, config.language("rust"))
    server.running, server.dies_at, server.serving = True, None, {"build-rust": "1"}
    assert run("promote", config).exit_code == 0
    assert state(folder) == ("2", "1") and server.serving == {"build-rust": "2"}


def verified(config: Config) -> Result:
    """What serve.py does beside the vLLM that it starts, once that answers."""
    return invoke("serve", config.path, "--verify-beside", os.getpid())


TRIED = {  # versions without an effect, the one that the server started with, the one served in the end, exit code
    "it has an effect": (set(), "2", "2", 0),
    "the version before it": ({"2"}, "2", "1", 3),
    "the base": ({"1", "2"}, "2", None, 3),
    "nobody asks for it": ({"1"}, "2", "2", 0),
    "a server that started before": (set(), "1", "2", 0),
}


@pytest.mark.parametrize("case", TRIED)
def test_what_was_promoted_without_a_server_is_tried_in_the_first_one(case, config, folder, server) -> None:
    unapplied, started, served, code = TRIED[case]
    server.running = False
    promoted(config, folder, "1", "2")
    assert promotion.verify(config) == ({}, ["build-rust: not tried: no server runs"])
    server.running, server.unapplied, server.serving = True, unapplied, {"build-rust": started}
    done = verified(config)
    assert done.exit_code == code, done.output
    assert state(folder)[0] == served and server.serving == ({"build-rust": served} if served else {})
    assert last_decision(folder)["verdict"] == ("promote" if served == "2" else "block")
    assert adapters.is_decided(config, config.language("rust"))
    server.running = False
    assert run("promote", config).exit_code == 0
    assert state(folder)[0] == served, "what was seen once is known without a server"


def test_a_version_that_waits_is_taken_up_by_the_server_that_starts(config, folder, server, monkeypatch) -> None:
    version, heldout = make(folder, "1", "wait"), config.rows("heldout", "rust")
    steps: list[str] = []
    monkeypatch.setattr(pipeline, "run", lambda command: steps.append(Path(command[1]).stem) or len(steps) < 3)
    assert verified(config).exit_code == 0 and steps == [], "not measured on the present rows yet"
    inputs = adapters.evaluation_inputs(config, None, heldout)
    write_json(version / "evaluation.json", {"verdict": "wait", "reason": "x", "inputs": inputs})
    assert verified(config).exit_code == 0 and steps == ["evaluate", "promote"]
    failed = verified(config)
    assert (failed.exit_code, "rust: not decided" in failed.output) == (3, True)


def test_a_server_of_other_settings_tries_again(config, folder, server) -> None:
    promoted(config, folder, "1")
    server.unapplied = {"1"}
    assert verified(config).exit_code == 0, "these settings are known"
    config.path.write_text(config.path.read_text() + '\n[serving]\nextra = ["--tensor-parallel-size", "2"]\n')
    assert verified(config).exit_code == 3 and state(folder) == (None, None)


def test_nothing_to_decide(config, folder, server) -> None:
    assert "nothing trained; the base answers" in run("promote", config).output
    make(folder, "1")
    (folder.path / "1" / "evaluation.json").unlink()
    done = run("promote", config)
    assert (done.exit_code, "not evaluated yet" in done.output) == (1, True)


def test_the_owner_forces_a_version_with_a_reason_that_is_kept(config, folder, server) -> None:
    make(folder, "1", "hold")
    assert run("promote", config, "--force", "1").exit_code == 2, "a reason is asked for"
    assert run("promote", config, "--force", "1", "--reason", "I tried it").exit_code == 0
    assert state(folder) == ("1", None) and server.serving == {"build-rust": "1"}
    assert (last_decision(folder)["verdict"], last_decision(folder)["reason"]) == ("forced", "I tried it")
    make(folder, "2", "promote")
    run("promote", config, "--force", "1", "--reason", "I know it")
    done = run("promote", config)
    assert "2: hold: set aside by the owner: 1 was promoted by force instead: I know it" in done.output
    assert state(folder)[0] == "1"
    done = run("promote", config, "--force", "7", "--reason", "x")
    assert (done.exit_code, "no such version; there are 1, 2" in done.output) == (1, True)
    make(folder, "2-broken")
    done = run("promote", config, "--force", "2-broken", "--reason", "x")
    assert (done.exit_code, "cannot be served: broken" in done.output) == (1, True)
    assert state(folder) == ("1", None)


ROLLING = [  # a version that is trained and evaluated, what is done then, what it says, what is current and previous
    ("", "promote --back", "nothing to go back to", (None, None)),
    ("1", "promote", "1: promote", ("1", None)),
    ("", "promote --back", "back from 1: the base answers", (None, "1")),
    ("", "promote --back", "back from the base: serving 1", ("1", None)),
    ("", "promote --back", "back from 1: the base answers", (None, "1")),
    ("", "promote --force 1 --reason best", "1: forced: best", ("1", None)),  # never the one before itself
    ("2", "promote", "2: promote", ("2", "1")),
    ("", "promote --back --reason slower", "back from 2: serving 1", ("1", "2")),
    ("2", "promote", "hold: set aside by the owner: slower", ("1", "2")),
    ("", "promote --back", "back from 1: serving 2", ("2", "1")),
    ("", "promote", "2: promote", ("2", "1")),
    ("3", "promote", "3: promote", ("3", "2")),
]


def test_rolling_back_and_forth(config, folder, server) -> None:
    for version, command, says, then in ROLLING:
        if version:
            make(folder, version)
        script, *options = command.split()
        assert says in run(script, config, *options).output and state(folder) == then, (version, command)
        assert server.serving == ({"build-rust": then[0]} if then[0] else {})
        if "slower" in command:
            assert adapters.is_decided(config, config.language("rust")), "the next run does not undo it"


def test_a_rollback_that_fails_is_none(config, folder, server) -> None:
    promoted(config, folder, "1", "2")
    server.dies_at = "load it"
    before = state(folder), len(adapters.decisions(folder))
    assert run("promote", config, "--back").exit_code == 1
    assert (state(folder), len(adapters.decisions(folder))) == before


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json", "manifest.json"])
def test_a_damaged_version_is_rolled_back_with_a_line(file, config, folder, server) -> None:
    promoted(config, folder, "1", "2")
    (folder.path / "2" / file).write_bytes(b"{")
    assert folder.current == folder.path / "1", "whoever asks, from now on"
    assert run("promote", config).exit_code == 0
    assert state(folder)[0] == "1" and server.serving == {"build-rust": "1"}
    (line,) = (each for each in adapters.decisions(folder) if each["verdict"] == "retired")
    assert line["version"] == "2" and file in line["reason"] and adapters.is_decided(config, config.language("rust"))


def test_pruning_keeps_the_last_ones_and_those_in_use(config, folder) -> None:
    for number in range(1, 9):
        make(folder, str(number))
        if number in (1, 2):
            make_current(folder, folder.path / str(number))
    (folder.path / ".removing-0").mkdir()
    done = invoke("prune", config.path, "--keep", 2)
    assert (done.exit_code, "build-rust: removed 3, 4, 5, 6; 4 kept" in done.output) == (0, True), done.output
    assert [version.name for version in folder.versions()] == ["1", "2", "7", "8"]
    assert not (folder.path / ".removing-0").exists()
    assert adapters.prune(folder, 2) == []


class Killed(BaseException):
    """The machine, or kill -9, in the middle of a run."""


def kill_after(changes: int, patch: pytest.MonkeyPatch) -> None:
    """Let so many changes to the file system and requests to the server happen, and not the next."""
    left = iter(range(changes))

    def mortal(act: Callable, *arguments: object, **options: object) -> object:
        if next(left, None) is None:
            raise Killed
        return act(*arguments, **options)

    changes = ("replace", "rename", "symlink", "unlink", "rmdir", "mkdir", "fsync")
    for module, names in ((os, changes), (promotion, ("served_models", "load_adapter", "unload_adapter"))):
        for name in names:
            patch.setattr(module, name, partial(mortal, getattr(module, name)))


def train_and_promote(config: Config, folder: AdapterFolder) -> None:
    inputs = {"rows": "c"}
    if version := folder.made_from(inputs):  # as train.py does it
        folder.point("latest", version)
    else:
        building = folder.building("c" * 8)
        write_json(building / "evaluation.json", {"verdict": "promote", "reason": "as measured"})
        files(building)
        folder.publish(building, {"key": "c" * 8, "inputs": inputs})
    promotion.decide(config, config.language("rust"))


def end(folder: AdapterFolder, server: Server) -> tuple:
    served = [name and name[-8:] for name in (*state(folder), server.serving.get("build-rust"))]
    return *served, len(folder.versions()), len(adapters.decisions(folder))


def back(config: Config, folder: AdapterFolder) -> None:
    if last_decision(folder).get("verdict") != "rollback":
        promotion.rollback(config, config.language("rust"), "x")


@pytest.mark.parametrize(("act", "points"), [(train_and_promote, 16), (back, 9)])
def test_killed_at_any_point_what_is_served_stays_whole(act, points, config, server, monkeypatch) -> None:
    """Each change of the file system in turn does not happen; then the same is run again, to the end."""
    ends = []
    for point in range(100):
        folder = AdapterFolder(config.paths.adapters / f"at-{point}")
        monkeypatch.setattr(promotion, "adapter_folder", lambda *_, folder=folder: folder)
        for name in ("0", "1", "2"):
            make(folder, name)
            promotion.decide(config, config.language("rust"))
        with contextlib.suppress(Killed), monkeypatch.context() as patch:
            kill_after(point, patch)
            act(config, folder)
            break
        used = {folder.current, folder.previous} - {None}
        assert folder.current and used <= {*folder.versions()}, point
        act(config, folder)
        ends.append(end(folder, server))
    assert len(ends) >= points, "so many points there were at least"
    assert {*ends} == {end(folder, server)}, "always to the same end"
