"""Which sessions, commits and repositories an entry of `[owner] exclude` means, and whether it means one of them.

What an entry covers is left out at once, even where it covers too much; an entry that is wrong stops assembly and
promotion. What was left out is noted in data/excluded.json, so that an entry stays known when nothing is left of it.
"""

from typing import Any

from specialists.adapters import MANIFEST, manifest_of
from specialists.config import Config, Problem, expand_repositories, named_by
from specialists.records import locked, names_of, read_json, source_of, write_json

NOTHING = "nothing of that name in histories, repositories and versions"


class Exclusion:
    """The entries of a configuration, and the names that they covered while this process ran."""

    def __init__(self, config: Config):
        self.config = config
        self.covered: set[str] = set()
        self._file = config.paths.data / "excluded.json"

    def covers(self, source: dict[str, Any]) -> bool:
        """Whether a row with this `source` is left out."""
        found = {name for name in names_of(source) if named_by(self.config.owner.exclude, name)}
        self.covered |= found
        return bool(found)

    def note(self) -> None:
        """Keep the names that were covered. Call it before the rows are written."""
        if self.covered:
            with locked(self.config.path):  # other steps note theirs
                write_json(self._file, sorted({*(read_json(self._file) or ()), *self.covered}))

    def check(self) -> None:
        """Raises Problem naming each entry that means nothing that is known, or more than one thing."""
        noted = read_json(self._file) or ()
        known = self.covered.union(noted, self._elsewhere()) if self.config.owner.exclude else set()
        wrong: list[str] = []
        for entry in self.config.owner.exclude:
            means = sorted(name for name in known if named_by([entry], name))
            if len(means) != 1:
                why = f"means {', '.join(means)}; write more of the one that you mean" if means else NOTHING
                wrong.append(f"{self.config.path}: owner.exclude: {entry!r}: {why}")
            self.covered |= set(means)
        if wrong:
            raise Problem("\n".join(wrong))
        self.note()

    def _elsewhere(self) -> set[str]:
        """Names of the configured repositories, and of what versions were trained on."""
        patterns = {pattern for language in self.config.languages.values() for pattern in language.repositories}
        found = {f"repository {path.name}" for pattern in patterns for path in expand_repositories(pattern)}
        manifests = self.config.paths.adapters.glob(f"*/[!.]*/{MANIFEST}")
        clusters = {cluster for path in manifests for cluster in manifest_of(path.parent).get("clusters", ())}
        return found.union(*(names_of(source_of(cluster)) for cluster in clusters))
