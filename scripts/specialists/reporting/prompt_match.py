"""What a specialist was trained on against what opencode sends it: prompt and tools before the owner's first word."""

import json
from collections import Counter
from posixpath import commonprefix
from typing import Any

from specialists.agent import compact, head_tokens, sent
from specialists.chat import Chat, Estimate
from specialists.config import Config, Language
from specialists.records import Record, canonical, read_records


def prompt_match(config: Config, language: Language, head: dict[str, Any], chat: Chat | Estimate) -> tuple[str, bool]:
    """How much of a captured head stands in the training rows, in words, and whether that is a gap.

    Tokens are the base's, by its template; a tool without its prose counts as far as it is shown. No rows: no words."""
    path, heads = config.rows("train", language.name), Counter[tuple[str, str]]()
    newest: dict[bool, Record] = {}  # by whether it is of a session, which shows the primary agent's tools
    for row in read_records(path) if head and path.is_file() else ():  # in the order of time
        heads[row["messages"][0]["content"], canonical(row["tools"])] += 1
        newest[row["source"]["kind"] == "session"] = row
    if not newest:
        return "", False
    system, tools = sent(language, head)
    names, total = {tool["function"]["name"] for tool in tools}, head_tokens(chat, system, tools)
    shares = Counter[float]()
    for (prompt, shown), number in heads.items():
        own = [tool for tool in json.loads(shown) if tool["function"]["name"] in names]
        shares[head_tokens(chat, commonprefix([system, prompt]), own) / total] += number
    mean = sum(share * number for share, number in shares.items()) / shares.total()
    whole = sum(number for share, number in shares.items() if share > 0.99)
    says = f"{total:,} tokens before the first word, of which {mean:.0%} stand in the training rows: "
    says += f"all in {whole} of {shares.total()}"
    if whole < shares.total():
        says += f", {min(shares):.0%} where environment, skills and descriptions of tools are missing"
    before, now = _parameters((newest.get(True) or newest[False])["tools"]), _parameters(head["tools"])
    plugins = {name for name in before if "_" in name}  # of a plugin or an MCP server: not in a captured request
    named = {
        "never shown in training": now.keys() - before.keys(),
        "shown in training but gone": before.keys() - now.keys() - plugins,
        "changed since": {name for name in before.keys() & now.keys() if before[name] != now[name]},
    }
    differences = [f"{what}: {', '.join(sorted(tools))}" for what, tools in named.items() if tools]
    return f"{says}; tools {'; '.join(differences) or 'the same'}", bool(differences) or not whole


def _parameters(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """By tool: its parameters and which of them are needed, without prose."""
    schemas = {tool["function"]["name"]: compact(tool)["function"]["parameters"] for tool in tools}
    return {name: [set(schema.get(key, ())) for key in ("properties", "required")] for name, schema in schemas.items()}
