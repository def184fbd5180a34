"""The versions of an adapter: one folder each, never overwritten; `latest`, `current` and `previous` are links.

    adapters/build-rust/20261123-091500-1a2b3c4d/   adapter_model.safetensors, adapter_config.json, manifest.json, …
    adapters/build-rust/latest   -> the newest that was trained
    adapters/build-rust/current  -> the one that is served;  previous -> the one served before it
    adapters/build-rust/.building-1a2b3c4d/          a training under way, or killed: the next run goes on from it

A version appears by one rename after its manifest is written, then its link by another: a kill leaves old or new state.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from specialists.config import Config, Language, Problem, fingerprint, named_by
from specialists.records import iso, names_of, read_json, sha256_file, source_of, write_json, written

TRAINING_FORMAT = 2  # raise it when a change of the training code must retrain every adapter
EVALUATION_FORMAT = 3  # raise it when a change of what is measured, or of the gate, must judge every adapter anew
MANIFEST = "manifest.json"
EVALUATION = "evaluation.json"
ROLLOUTS = "rollouts.json"  # held-out tasks with what base and version made of each
DECISIONS = "promotions.jsonl"
LINKS = ("latest", "current", "previous")
FILES = ("adapter_config.json", "adapter_model.safetensors")  # PEFT's
ROLLBACK, FORCED = "rollback", "forced"  # what the owner himself decides, beside the gate's promote, hold and block
WAIT = "wait"  # instead of a verdict, until the server can measure a version
RETIRED = "retired"  # trained on what `[owner] exclude` names by now, or damaged
EMPTY = hashlib.sha256(b"").hexdigest()  # of no rows at all
_TAIL = 1 << 16  # bytes of each weight shard that count towards a base model's fingerprint


@dataclass(frozen=True)
class AdapterFolder:
    """All versions of one adapter; those that are damaged or trained on excluded work are as good as not there."""

    path: Path
    exclude: tuple[str, ...] = ()  # as in `[owner]`

    @property
    def latest(self) -> Path | None:
        """The newest trained version, or None."""
        return self._linked("latest") or next(reversed(self.versions()), None)

    @property
    def current(self) -> Path | None:
        """The promoted version, or None; for one that is retired the newest older one that was promoted, if any."""
        if (linked := self._linked("current")) or not self.retired("current"):
            return linked
        verdicts = {decision.get("version"): decision.get("verdict") for decision in decisions(self)}
        older = [version for version in self.versions() if version < (self.path / "current").resolve()]
        return next((v for v in reversed(older) if verdicts.get(v.name) in ("promote", FORCED)), None)

    @property
    def previous(self) -> Path | None:
        """The version that was promoted before the current one, or None."""
        return self._linked("previous")

    def incumbent(self, version: Path) -> Path | None:
        """What a version has to be no worse than: the current one, or the one before when it is current itself."""
        return self.current if self.current != version else self.previous

    def versions(self, retired: bool = False) -> list[Path]:
        """Finished versions, oldest first; with `retired`, those that are not to be used among them."""
        folders = {manifest.parent.resolve() for manifest in self.path.glob(f"[!.]*/{MANIFEST}")}
        return sorted(folder for folder in folders if retired or not self.unusable(folder))

    def unusable(self, version: Path) -> str | None:
        """Why a version is never served: one of its files is damaged, or what it was trained on; None: it may be."""
        if broken := damage(version):
            return f"damaged: {broken}"
        clusters = manifest_of(version).get("clusters", ()) if self.exclude else ()
        names = {name for cluster in clusters for name in names_of(source_of(cluster))}
        work = ", ".join(sorted(name for name in names if named_by(self.exclude, name)))
        return f"trained on {work}, which owner.exclude names" if work else None

    def retired(self, *links: str) -> list[str]:
        """Those of the links (all when none is named) that point to a version which is no longer to be used."""
        named = [link for link in links or LINKS if (self.path / link).is_symlink()]
        return [link for link in named if self.unusable(self.path / link)]

    def version(self, name: str) -> Path:
        """The version of that name; raises Problem when there is none."""
        path = (self.path / name).resolve()
        if path not in self.versions(retired=True):  # another adapter's among them
            known = ", ".join(version.name for version in self.versions()) or "none"
            raise Problem(f"{self.path / name}: no such version; there are {known}")
        if why := self.unusable(path):
            raise Problem(f"{path}: {why}")
        return path

    def made_from(self, inputs: dict[str, Any]) -> Path | None:
        """The newest version that was trained from these inputs, or None."""
        return next((path for path in reversed(self.versions()) if manifest_of(path).get("inputs") == inputs), None)

    def point(self, link: str, version: Path | None) -> None:
        """Make a link point to a version, or remove it, in one step."""
        target = self.path / link
        if version is None:
            return target.unlink(missing_ok=True)
        temporary = self.path / f".{link}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(version.name)
        os.replace(temporary, target)

    def building(self, key: str) -> Path:
        """The folder in which the version of that key is built; those of other keys are removed."""
        mine = self.path / f".building-{key}"
        for other in {*self.path.glob(".building-*")} - {mine}:
            shutil.rmtree(other)
        mine.mkdir(parents=True, exist_ok=True)
        return mine

    def publish(self, built: Path, manifest: dict[str, Any]) -> Path:
        """Turn a finished building folder into a version: manifest last, rename, `latest`."""
        version = self.path / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{manifest['key'][:8]}"
        manifest |= {"created": iso(time.time()), "version": version.name}
        write_json(built / MANIFEST, manifest)
        os.rename(built, version)
        self.point("latest", version)
        return version

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this adapter alone; a killed holder lets go, and links that he moved and did not record go back."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            decided = last_decision(self)
            for link in ("previous", "current") if "previous" in decided else ():  # lines until 1.1 have none
                version = (self.path / decided[link]).resolve() if decided[link] else None
                if version != self._linked(link) and (version is None or not self.unusable(version)):
                    self.point(link, version)
            yield

    def _linked(self, link: str) -> Path | None:
        target = self.path / link
        return target.resolve() if target.is_symlink() and not self.unusable(target) else None


def adapter_folder(config: Config, language: Language) -> AdapterFolder:
    """The folder of a language's adapter."""
    return AdapterFolder(config.paths.adapters / language.adapter, config.owner.exclude)


def promoted_versions(config: Config) -> dict[str, str]:
    """The current version's name of every language that has one."""
    current = {name: adapter_folder(config, language).current for name, language in config.languages.items()}
    return {name: version.name for name, version in current.items() if version}


def damage(version: Path) -> str | None:
    """Which of a version's files is missing or cut short, by what it says of itself; None: none is."""
    try:
        return _damage(version, *((version / name).stat() for name in (MANIFEST, *FILES)))
    except OSError as error:
        return f"{error.filename}: {error.strerror}"


@lru_cache
def _damage(version: Path, *_states: os.stat_result) -> str | None:
    if broken := [name for name in (MANIFEST, FILES[0]) if not isinstance(read_json(version / name), dict)]:
        return f"{broken[0]} is no JSON"
    return None if is_whole(version / FILES[1]) else f"{FILES[1]} is not whole"


def is_whole(weights: Path) -> bool:
    """Whether a safetensors file is as long as it says: https://github.com/huggingface/safetensors#format."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        ends = re.findall(rb'"data_offsets":\s*\[\d+,\s*(\d+)\]', file.read(min(length, size)))
    return 8 + length + max(map(int, ends), default=0) == size


def manifest_of(version: Path | None) -> dict[str, Any]:
    """A version's manifest; empty when there is no such version."""
    return (read_json(version / MANIFEST) if version else None) or {}


def trained_on_another(version: Path | None, config: Config) -> str | None:
    """The base that a version was trained on where it is not the configured one, by name; a folder may have moved."""
    model = manifest_of(version).get("base", {}).get("model")
    return model if model and Path(model).name != Path(config.base.model).name else None


def evaluation_of(version: Path | None) -> dict[str, Any]:
    """A version's evaluation; empty when there is none."""
    return (read_json(version / EVALUATION) if version else None) or {}


def train_summary(config: Config, language: Language) -> dict[str, Any]:
    """What assemble.py left about a language's rows; empty when it has not run."""
    return read_json(config.rows("train", language.name).with_suffix(".summary.json")) or {}


def too_few(config: Config, language: Language) -> str | None:
    """Why a language is not trained that has fewer examples, held-out ones among them, than its owner asks for."""
    summary = train_summary(config, language)
    count = sum(sum((summary.get(part) or {}).values()) for part in ("train", "heldout"))
    least = f"languages.{language.name}.min_examples = {language.min_examples}"
    says = f"not trained: {count} examples are fewer than {least}; lower it to train all the same"
    return says if summary and count < language.min_examples else None


def not_served(config: Config) -> list[str]:
    """Which versions are never served, and why; a line each."""
    folders = [adapter_folder(config, language) for language in config.languages.values()]
    unused = {version: folder.unusable(version) for folder in folders for version in folder.versions(retired=True)}
    return [f"{path.parent.name}/{path.name}: never served: {why}" for path, why in unused.items() if why]


def training_inputs(config: Config, language: Language, rows: str | None = None) -> dict[str, str | None]:
    """What an adapter is made from: rows with that hash (else the one that assemble.py wrote), base and parameters."""
    base = base_fingerprint(config.base.model, config.base.revision)
    parameters = fingerprint(TRAINING_FORMAT, config.base.dtype, base, language.training)
    return {"rows": rows or train_summary(config, language).get("sha256"), "config": parameters}


def is_trained(config: Config, language: Language) -> bool:
    """Whether the newest version was trained on the present rows and configuration, or there are too few rows."""
    inputs, latest = training_inputs(config, language), adapter_folder(config, language).latest
    nothing_to_do = inputs["rows"] == EMPTY or too_few(config, language) is not None
    return nothing_to_do or manifest_of(latest).get("inputs") == inputs


@lru_cache
def base_fingerprint(model: str, revision: str | None = None) -> str:
    """A hash that changes with a base model: small files whole, weight shards by size and end; on the Hub by name."""
    folder = Path(model).expanduser()
    digest = hashlib.sha256(f"{model.rsplit('/', 1)[-1]}\0{revision}".encode())
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix in (".json", ".jinja", ".safetensors"):
            digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                if path.suffix == ".safetensors":
                    file.seek(max(0, path.stat().st_size - _TAIL))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def evaluation_inputs(config: Config, incumbent: Path | None, heldout: Path) -> dict[str, Any]:
    """What an evaluation depends on besides the version itself."""
    files = (heldout, config.evaluation.instructions)
    rows, instructions = (sha256_file(path) if path and path.is_file() else None for path in files)
    settings = fingerprint(EVALUATION_FORMAT, config.evaluation, instructions, config.serving.model)
    return {"heldout": rows, "incumbent": incumbent.name if incumbent else None, "settings": settings}


def is_evaluated(config: Config, language: Language) -> bool:
    """Whether there is a verdict on the newest version, if there is one; one that waits counts while no server runs."""
    if adapter_folder(config, language).latest is None:
        return True
    if (verdict := present_verdict(config, language)) != WAIT:
        return verdict is not None
    from specialists.server import served_models  # only here: this takes a request

    with contextlib.suppress(Problem):  # evaluate.py says what answers there
        return served_models(config) is None
    return False


def present_verdict(config: Config, language: Language) -> str | None:
    """The verdict on the newest version by the present held-out rows and incumbent; None: not measured on them."""
    folder = adapter_folder(config, language)
    if (latest := folder.latest) is None:
        return None
    evaluation, heldout = evaluation_of(latest), config.rows("heldout", language.name)
    known = evaluation.get("inputs") == evaluation_inputs(config, folder.incumbent(latest), heldout)
    return evaluation["verdict"] if known and evaluation.get("rollouts") == evaluation.get("weighed") else None


def is_decided(config: Config, language: Language) -> bool:
    """Whether the verdict on the newest version, if there is one, was acted on, and no link is to be retired."""
    folder = adapter_folder(config, language)
    if (latest := folder.latest) is None or folder.retired():
        return not folder.retired()
    decision = last_decision(folder)
    return (decision.get("version"), decision.get("evaluation")) == (latest.name, evaluation_hash(latest))


def evaluation_hash(version: Path) -> str | None:
    """A hash of a version's evaluation.json; None when it was not evaluated."""
    return sha256_file(version / EVALUATION)[:16] if (version / EVALUATION).is_file() else None


def decisions(folder: AdapterFolder) -> list[dict[str, Any]]:
    """The lines of promotions.jsonl, oldest first; one cut short by a full disk or else damaged is left out."""
    path, found = folder.path / DECISIONS, []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and {"version", "verdict"} <= line.keys()]


def last_decision(folder: AdapterFolder) -> dict[str, Any]:
    """The newest line of promotions.jsonl; empty when nothing was decided yet."""
    return (decisions(folder) or [{}])[-1]


def withdrawn(folder: AdapterFolder) -> dict[str, str]:
    """Versions that the owner rolled back from, with his reasons; one that he took again is not among them."""
    found: dict[str, str] = {}
    for decision in decisions(folder):
        if decision.get("verdict") == ROLLBACK and decision.get("version"):
            found[decision["version"]] = decision["reason"]
        if decision.get("verdict") in (ROLLBACK, FORCED):
            found.pop(decision.get("current") or "", None)
        if newer := decision.get("instead_of"):
            found[newer] = f"{decision['version']} was promoted by force instead: {decision['reason']}"
    return found


def record_decision(folder: AdapterFolder, decision: dict[str, Any]) -> None:
    """Add a line to the adapter's promotions.jsonl: what was decided about which version, and why."""
    path, line = folder.path / DECISIONS, {"time": iso(time.time()), **decision}
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")  # a machine that died in the middle of a line
    with written(path), path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")


def make_current(folder: AdapterFolder, version: Path) -> None:
    """Make a version the current one; what was served before it, if only the base, becomes `previous`."""
    if (incumbent := folder.current) != version:
        folder.point("previous", incumbent)
        folder.point("current", version)


def prune(folder: AdapterFolder, keep: int) -> list[str]:
    """Remove all but the newest `keep` usable versions and those that a link points to; returns the removed names."""
    linked = {(folder.path / link).resolve() for link in LINKS}  # a retired one too, until the next decision
    kept = {*folder.versions()[-keep:], *linked, folder.latest, folder.current, folder.previous}
    removed = [version for version in folder.versions(retired=True) if version not in kept]
    for version in removed:  # renamed before it is deleted, so that a kill leaves no half of one
        os.rename(version, version.with_name(f".removing-{version.name}"))
    for hidden in folder.path.glob(".removing-*"):
        shutil.rmtree(hidden)
    return [version.name for version in removed]
