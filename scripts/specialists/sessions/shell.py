"""Shell command lines taken apart, without a shell: enough to see which programs ran on which files."""

import re
from itertools import pairwise
from pathlib import PurePosixPath

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1[^\n]*\n.*?(?:^\s*\2\s*$|\Z)", re.S | re.M)
_TOKEN = re.compile(
    r"""(?xs)(?P<operator>&&|\|\||[;|&()\n]|\d?>{1,2}(?!\()|<)
      | (?P<word>(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s;|&()<>"'\\]|["'])+)"""
)
_WRAPPERS = frozenset("sudo time timeout nohup exec command nice env xargs then do else ! {".split())
_NO_PROGRAM = re.compile(r"[A-Za-z_]\w*=|-|\d+[smh]?\Z")  # an assignment, an option or a duration of a wrapper
_SHELLS = frozenset("sh bash zsh dash".split())


def commands(line: str) -> list[list[str]]:
    """The simple commands of a command line, each as words without quotes; `> file` stays as two words.

    Here-documents, variable assignments and wrappers such as `sudo` are left out; of `sh -c '…'` what it runs is given.
    """
    found: list[list[str]] = [[]]
    line = _HEREDOC.sub(lambda match: match[0].split("\n", 1)[0].replace("<<", " ", 1) + "\n", line)
    for match in _TOKEN.finditer(line):
        operator = match["operator"]
        if operator and operator[-1] in "&|;()\n":
            found.append([])
        elif operator:
            found[-1].append(">" if ">" in operator else "<")
        else:
            word = re.sub(r"\\(.)|[\"']", lambda part: part[1] or "", match["word"])
            if found[-1] or not (_NO_PROGRAM.match(word) or word in _WRAPPERS):
                found[-1].append(word)
    run: list[list[str]] = []
    for words in filter(None, found):
        given = next((line for option, line in pairwise(words) if re.fullmatch(r"-\w*c", option)), None)
        run += commands(given) if given and PurePosixPath(words[0]).name in _SHELLS else [words]
    return run
