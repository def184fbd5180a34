"""A pipeline's outputs, made by hand: what the steps would have left for one or more languages."""

import json
from pathlib import Path
from typing import Any

from specialists import adapters
from specialists.config import Config, load_config
from specialists.records import Record, make_record, tool_call, write_records


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def row(language: str, kind: str, number: int) -> Record:
    """An example with one turn to learn and one that failed."""
    messages = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": f"Halve the answer of {kind} {number}"},
        {"role": "assistant", "content": "Bad.", "weight": 0, "tool_calls": [tool_call(0, "edit", {"oldString": "x"})]},
        {"role": "tool", "tool_call_id": "call_0", "content": "Could not find oldString"},
        {"role": "assistant", "content": "Better.", "tool_calls": [tool_call(1, "edit", {"oldString": "x / 2"})]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Edit applied successfully."},
    ]
    time = f"2026-05-{number % 28 + 1:02}T10:00:00Z"
    return make_record(language, messages, [], {"kind": kind, "time": time, "session": f"ses_{number}"})


def examples(config: Config, language: str, train: dict[str, int], longest: int = 900) -> None:
    """Rows and summary as assemble.py leaves them; one row is held out for four that are trained on."""
    heldout = {kind: count // 4 for kind, count in train.items()}
    for part, counts in (("train", train), ("heldout", heldout)):
        rows = [row(language, kind, number) for kind, count in counts.items() for number in range(count)]
        write_records(config.paths.data / part / f"{language}.jsonl", rows)
    total = sum(train.values())
    lengths = sorted(longest - number * longest // (total + 1) for number in range(total))
    summary = {
        "train": train,
        "heldout": heldout,
        "span": ["2026-05-01T10:00:00Z", "2026-11-20T10:00:00Z"],
        "tokens": {"train": sum(lengths), "supervised": 90 * total, "longest": longest, "lengths": lengths},
        "funnel": {"duplicate": 4, "over the most that is wanted": 1},
        "sha256": adapters.sha256_file(config.paths.data / "train" / f"{language}.jsonl"),
    }
    write(config.paths.data / "train" / f"{language}.summary.json", summary)


def files(version: Path) -> None:
    """An adapter's two files, without a weight."""
    write(version / "adapter_config.json", {"r": 8})
    (version / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


def version(config: Config, name: str, language: str, steps: int = 12, **manifest: Any) -> Path:
    """A trained version of the present rows and configuration; keywords replace what its manifest says."""
    chosen = config.language(language)
    folder = adapters.adapter_folder(config, chosen)
    rows = config.paths.data / "train" / f"{language}.jsonl"
    whole = {
        "adapter": chosen.adapter,
        "inputs": adapters.training_inputs(config, chosen),
        "base": {"model": config.base.model, "revision": config.base.revision, "template": "0" * 16},
        "training": vars(chosen.training),
        "rows": len(rows.read_text().splitlines()),
        "tokens": 12345,
        "supervised": 2345,
        "modules": {"model.layers.0.self_attn.q_proj": 16},
        "parameters": 1048576,
        "losses": [[step, 2.5 / (1 + 0.1 * step) + 0.05 * (step % 3)] for step in range(1, steps + 1)],
        "seconds": 754.2,
        "peak_memory_bytes": 3 << 30,
        "created": f"{name[:4]}-{name[4:6]}-{name[6:8]}T09:15:00Z",
        "version": name,
        **manifest,
    }
    write(folder.path / name / "manifest.json", whole)
    files(folder.path / name)
    folder.point("latest", folder.path / name)
    return folder.path / name


def evaluated(config: Config, path: Path, language: str, difference: float = -0.3, verdict: str = "promote") -> None:
    """An evaluation of the present held-out rows whose clusters all differ from the base by about `difference`."""
    folder = adapters.adapter_folder(config, config.language(language))
    heldout = config.paths.data / "heldout" / f"{language}.jsonl"
    measurements = [
        {
            "cluster": f"ses_{number // 2}",
            "tokens": 10 + number,
            "nll": {"base": 20.0 + number, "adapter": 20.0 + number + (difference + 0.02 * number) * (10 + number)},
        }
        for number in range(12)
    ]
    loss = {"adapter": 1.5 + difference, "base": 1.5, "difference": difference, "relative": difference / 1.5}
    loss["interval"] = [difference - 0.1, difference + 0.1]
    inputs = adapters.evaluation_inputs(config, folder.incumbent(path), heldout)
    result = {"inputs": inputs, "clusters": 6, "loss": loss, "verdict": verdict, "measurements": measurements}
    result["reason"] = f"held-out loss 1.500 -> {1.5 + difference:.3f}"
    write(path / "evaluation.json", result)


def decided(config: Config, path: Path, language: str) -> None:
    """The verdict on a version, acted on as promote.py does."""
    folder = adapters.adapter_folder(config, config.language(language))
    evaluation = json.loads((path / "evaluation.json").read_text())
    if evaluation["verdict"] == "promote":
        adapters.make_current(folder, path)
    decision = {name: evaluation[name] for name in ("verdict", "reason")}
    decision |= {"time": "2026-11-23T09:20:00Z", "version": path.name, "evaluation": adapters.evaluation_hash(path)}
    adapters.record_decision(folder, {**decision, "current": folder.current and folder.current.name})


def built(config_file: Path) -> Config:
    """Rust promoted, TypeScript held, Python trained only, Ruby with examples only, Swift with nothing."""
    config = load_config(config_file)
    for language, difference, verdict in (("rust", -0.3, "promote"), ("ts", -0.02, "hold")):
        examples(config, language, {"session": 24, "commit": 12, "synthetic": 0})
        path = version(config, "20261123-091500-1a2b3c4d", language)
        evaluated(config, path, language, difference, verdict)
        decided(config, path, language)
    examples(config, "python", {"session": 8, "commit": 4, "synthetic": 0}, longest=7900)
    version(config, "20261122-021500-5e6f7a8b", "python", steps=1)
    examples(config, "ruby", {"session": 4, "commit": 0, "synthetic": 12})
    funnel = {"sessions": 6, "languages": {"rust": {"turns": 9, "examples": 30, "lost": {"failed edit": 3}}}}
    write(config.paths.data / "sessions" / "summary.json", {"step": "extract", "funnel": funnel, "problems": []})
    commits = {"step": "mine", "funnel": {"commits": 40, "merge": 3}, "problems": ["~/gone: not there"]}
    write(config.paths.data / "commits" / "rust.summary.json", commits)
    answer = {"model": "build-rust", "kind": "tool call", "shown": 'read {"filePath": "README.md"}'}
    write(config.paths.reports / "answers.json", {"promoted": {"rust": "x"}, "answers": [answer]})
    return config
