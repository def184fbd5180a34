"""A made-up developer's agent at work: turns with read, edit, write, grep and bash calls that change a project's state
the way the calls say."""

from __future__ import annotations

import random

from session_rows import HOME, Call, Step, Turn, diff_of
from specialists.agent import EDIT_DONE, WRITE_DONE, read_result
from stories import Function, Project, State, edits, name_of

REQUESTS = {
    "fixed": (
        "`{name}` is wrong: {symptom}. Fix it.",
        "There is a bug in {path}: {symptom}. Please find and fix it.",
        "Something is off with {name}, {symptom}. Can you fix that?",
    ),
    "wider": ("Make `{name}` {wish}.", "I want `{name}` in {path} to {wish}.", "Please change {name} so as to {wish}."),
    "renamed": ("Rename `{name}` to `{rename}`.", "`{name}` is a bad name, call it `{rename}` everywhere."),
    "documented": ("Document `{name}`.", "Write a doc comment for `{name}` in {path}."),
    "tested": ("Write a test for `{name}`.", "Now add a test for {name}.", "{name} has no test, please add one."),
    "explained": ("What does `{name}` do?", "Explain `{name}` in {path} in one sentence."),
}
FIRST_WORDS = ("", "", "I'll look at the code first.", "Let me read {path}.")
EDIT_WORDS = ("", "", "Now the change.", "Found it.")
ANSWERS = {
    "fixed": ("Fixed: `{name}` no longer shows that {symptom}.", "`{name}` is right now; its bug was one expression."),
    "wider": ("Done: I made `{name}` {wish}.", "`{name}` can do that now."),
    "renamed": ("`{name}` is called `{rename}` now.", "Renamed to `{rename}`."),
    "documented": ("`{name}` is documented now.",),
    "tested": ("Added a test for `{name}`; it passes.",),
}
NOT_FOUND = "Could not find oldString in the file."


class Developer:
    """Works on one project; `state` is what was done so far."""

    def __init__(self, project: Project, state: State, rng: random.Random):
        self.project, self.state, self.rng = project, state, rng

    def change(self, function: Function, trait: str, miss: bool = False, check_first: bool = False) -> Turn:
        """A turn that gives the function another trait. `miss`: the first edit does not match the file."""
        before = self.project.render(self.state)
        name, path = name_of(function, self.state), self.project.source_path(function)
        steps = [self._check(function, False)] if check_first else []
        steps += self._look(function, before, whole_project=trait == "renamed")
        self.state |= {(function.name, trait)}
        for changed, text in self.project.render(self.state).items():
            if changed not in before:
                call = Call("write", {"content": text, "filePath": self.absolute(changed)}, WRITE_DONE)
                steps.append(Step(self.rng.choice(EDIT_WORDS[:3]), [call]))
            elif before[changed] != text:
                if changed != path:
                    steps.append(Step("", [self.read(changed, before[changed])]))
                calls = self._edits(changed, before[changed], text)
                if miss:
                    steps += self._missed(calls[0], changed, before[changed])
                    miss = False
                steps.append(Step(self.rng.choice(EDIT_WORDS), calls))
        if trait != "documented":
            steps.append(self._check(function, True))
        steps.append(Step(self._filled(self.rng.choice(ANSWERS[trait]), function, name)))
        return Turn(self._filled(self.rng.choice(REQUESTS[trait]), function, name), steps)

    def explain(self, function: Function) -> Turn:
        """A question about a function, answered by what is written above it."""
        name = name_of(function, self.state)
        steps = self._look(function, self.project.render(self.state))
        steps.append(Step(f"`{name}`: {function.doc}"))
        return Turn(self._filled(self.rng.choice(REQUESTS["explained"]), function, name), steps)

    def introduce(self, function: Function) -> Turn:
        """A question about the whole project, answered from its README and one of its files."""
        files, path = self.project.render(self.state), self.project.source_path(function)
        ask = ("What is this project for?", "Read the README and tell me what this is about.", "What does this do?")
        steps = [Step("", [self.read(name, files[name])]) for name in ("README.md", path)]
        return Turn(self.rng.choice(ask), [*steps, Step(self.project.about)])

    def aborted(self, function: Function) -> Turn:
        """A turn in which the user stopped a command that took too long."""
        command = self.project.check_command(function)
        cut = "\n\n<shell_metadata>\nUser aborted the command\n</shell_metadata>"
        call = Call("bash", {"command": command, "description": "Runs the tests"}, cut, metadata={"output": ""})
        return Turn("Run the tests.", [Step("", [call], aborted=True)])

    def absolute(self, path: str) -> str:
        return f"{HOME}/{self.project.name}/{path}"

    def read(self, path: str, text: str) -> Call:
        """A read call and what it answers."""
        where = self.absolute(path)
        metadata = {"preview": text[:200], "truncated": False}
        return Call("read", {"filePath": where}, read_result(where, text), metadata=metadata)

    def bash(self, command: str, output: str, code: int = 0) -> Call:
        """A command that ran."""
        description = f"Runs {command.split()[0]}"
        metadata = {"output": output, "exit": code, "description": description, "truncated": False}
        return Call("bash", {"command": command, "description": description}, output, metadata=metadata)

    def _look(self, function: Function, files: dict[str, str], whole_project: bool = False) -> list[Step]:
        path = self.project.source_path(function)
        words = self.rng.choice(FIRST_WORDS).format(path=path)
        steps = []
        if whole_project or self.rng.random() < 0.25:
            steps.append(Step(words, [self._grep(name_of(function, self.state), files)]))
            words = ""
        return [*steps, Step(words, [self.read(path, files[path])])]

    def _grep(self, pattern: str, files: dict[str, str]) -> Call:
        found = {}
        for path, text in files.items():
            lines = [f"  Line {n}: {line}" for n, line in enumerate(text.split("\n"), 1) if pattern in line]
            if lines:
                found[self.absolute(path)] = lines
        count = sum(map(len, found.values()))
        output = f"Found {count} matches\n" + "\n".join(f"{path}:\n" + "\n".join(found[path]) + "\n" for path in found)
        where = f"{HOME}/{self.project.name}"
        metadata = {"matches": count, "truncated": False}
        return Call("grep", {"pattern": pattern, "path": where}, output, metadata=metadata)

    def _edits(self, path: str, before: str, after: str) -> list[Call]:
        calls, where = [], self.absolute(path)
        for old, new in edits(before, after):
            changed = before.replace(old, new, 1)
            metadata = {"diff": diff_of(where, before, changed), "diagnostics": {}}
            arguments = {"filePath": where, "oldString": old, "newString": new}
            calls.append(Call("edit", arguments, EDIT_DONE, metadata=metadata))
            before = changed
        return calls

    def _missed(self, right: Call, path: str, text: str) -> list[Step]:
        """The same edit with a wrong indentation, which opencode refuses, and another look at the file."""
        old = "\n".join(f"      {line.lstrip()}" for line in right.input["oldString"].split("\n"))
        wrong = Call("edit", {**right.input, "oldString": old}, NOT_FOUND, failed=True)
        return [Step("", [wrong]), Step("The indentation differs; I'll read it again.", [self.read(path, text)])]

    def _check(self, function: Function, passes: bool) -> Step:
        output = self.project.output(function, passes, self.rng.randrange(9))
        return Step("", [self.bash(self.project.check_command(function), output, 0 if passes else 1)])

    def _filled(self, text: str, function: Function, name: str) -> str:
        path = self.project.source_path(function)
        return text.format(name=name, rename=function.rename, symptom=function.symptom, wish=function.wish, path=path)
