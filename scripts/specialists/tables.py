"""The tables of specialists.toml as frozen dataclasses: key, type, default, meaning, limits."""

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

SERVED_BASE = "base"  # the base model's name in requests
REQUIRED = MISSING
PARTS = ("attention", "linear_attention", "mlp")  # of a decoder layer
SYSTEMCTL, UNIT = ("systemctl", "--user"), "specialists-serve.service"
WHILE_TRAINING = ("auto", "keep", "stop")
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's --max-lora-rank takes (vLLM 0.32)


def key(default: Any, help: str, **limits: Any) -> Any:
    """A configuration key: its default, one sentence for the reference, and the values it may take.

    Limits: `choices`, `least`, `most`, `regex` (items are regular expressions), `form` (of items: one, and in words).
    """
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class Paths:
    data: Path = key(Path("data"), "Examples, built by extract, mine, augment and assemble.")
    adapters: Path = key(Path("adapters"), "Trained adapters, one folder per version.")
    reports: Path = key(Path("reports"), "The report and its figures.")


@dataclass(frozen=True)
class Owner:
    emails: tuple[str, ...] = key((), "Whose commits are mined, by e-mail; empty: `git config --global user.email`.")
    exclude: tuple[str, ...] = key(
        (),
        'Work never to learn from: "ses_…", "commit 1a2b3c4…", "row 1a2b3c4…", "repository NAME"; ids may be cut.',
        form=(
            r"ses_\w+|(commit|row) [0-9a-f]{7,64}|repository (?!\.{1,2}$)[^/\s](?:[^/]*[^/\s])?",
            '"ses_…", "commit …" or "row …" (7 hexadecimal digits at least), or "repository NAME"',
        ),
    )
    rejections: tuple[str, ...] = key((), 'Clauses that reject work ("nein"), beside English ones.', regex=True)


@dataclass(frozen=True)
class Base:
    model: str = key("Qwen/Qwen3-Coder-Next", "The base model: a name on the Hub, or a folder (./… from this file).")
    revision: str | None = key(None, "Commit of the base model on the Hub; empty: the newest that is there.")
    dtype: str = key("bfloat16", "Precision of what is not quantised.", choices=("bfloat16", "float32", "float16"))
    prepared: Path | None = key(None, "Folder for the base in 4 bits (Qwen3-Coder-Next: 40 GB); empty: not kept.")


@dataclass(frozen=True)
class Opencode:
    databases: tuple[Path, ...] = key((), "opencode databases or folders; empty: all in opencode's own folder.")
    agents: tuple[str, ...] = key(("build", "build-*"), "Agents whose work is learned from (shell patterns).")
    config: Path = key(Path("~/.config/opencode/opencode.json"), "The opencode configuration that agents are put into.")


@dataclass(frozen=True)
class Secrets:
    extra: tuple[str, ...] = key((), "More regular expressions of secrets; their first group, or all.", regex=True)
    allow: tuple[str, ...] = key((), "Regular expressions; what one of them is found in is no secret.", regex=True)
    hosts: tuple[str, ...] = key((), "Host names that are replaced like other personal data.")


@dataclass(frozen=True)
class Assembly:
    heldout_clusters: int = key(5, "Of sessions and of commits held out at least, up to half; else an eighth.", least=0)
    whole_heads: float = key(1.0, "Share of training rows behind all that opencode sends first.", least=0, most=1)


@dataclass(frozen=True)
class Endpoint:
    url: str = key("", "OpenAI-compatible endpoint (http://…/v1) that words requests and judges sessions.")
    model: str = key("", "The model at the endpoint.")


@dataclass(frozen=True)
class Rollouts:
    enabled: bool = key(False, "Do past commits again with the agent, in a sandbox; needs bubblewrap and socat.")
    model: str = key("base", "Who does them; endpoint: [endpoint] model.", choices=("base", "adapter", "endpoint"))
    read_only: tuple[str, ...] = key((), 'What the sandbox shows too ("~/.cargo"); relative: of each repository.')
    minutes: int = key(120, "Time for one round; none begins after it.", least=1)
    runs: int = key(2, "Runs of each task.", least=1)
    recall: float = key(0.5, "Share of your changed lines that a run without tests has to make.", least=0, most=1)


@dataclass(frozen=True)
class Training:
    r: int = key(16, "LoRA rank; one that vLLM serves.", choices=LORA_RANKS)
    alpha: int = key(16, "LoRA alpha.", least=1)
    dropout: float = key(0.0, "LoRA dropout.", least=0, most=1)
    targets: tuple[str, ...] = key(PARTS, "What gets an adapter: q/k/v/o, DeltaNet, gate/up/down.", choices=PARTS)
    max_length: int = key(8192, "Tokens per example after its head; a longer row is an error, never cut.", least=64)
    learning_rate: float = key(1e-4, "Peak learning rate.", least=0)
    epochs: float = key(3.0, "Passes over the examples.", least=0.01)
    max_steps: int = key(-1, "Stop after this many optimizer steps; -1: by epochs.", least=-1)
    batch_size: int = key(1, "Examples per step and device.", least=1)
    gradient_accumulation: int = key(8, "Steps per optimizer step.", least=1)
    optimizer: str = key("adamw_8bit", "Any optimizer name that transformers knows.")
    quantization: str = key("nf4", "How the frozen base is held.", choices=("nf4", "none"))
    gradient_checkpointing: bool = key(True, "Trade time for memory.")
    launcher: tuple[str, ...] = key((), "What starts the training, e.g. accelerate launch --config_file FILE.")


@dataclass(frozen=True)
class Evaluation:
    gain: float = key(0.02, "Smallest relative fall of the loss on lines that you changed that is promoted.", least=0)
    forgetting: float = key(0.02, "Relative rise of the loss on the frozen set that blocks.", least=0)
    generate: int = key(16, "Held-out turns that base and adapter write themselves; 0: none.", least=0)
    instructions: Path | None = key(None, "An AGENTS.md: also measures the base with it, without training.")


@dataclass(frozen=True)
class Serving:
    host: str = key("127.0.0.1", "Address to listen on; anything wider is reachable by others.")
    port: int = key(8000, "Port.", least=1, most=65535)
    model: str | None = key(None, "The base as served, where it is another (quantised) copy than the one trained on.")
    max_model_len: int = key(131072, "Context served, in tokens.", least=256)
    max_lora_rank: int = key(16, "Largest rank served.", choices=LORA_RANKS)
    tool_call_parser: str | None = key(None, "vLLM's tool-call parser; empty: by what the base's template writes.")
    while_training: str = key(
        "auto", "Whether the server runs on during training and evaluation; auto: if both fit.", choices=WHILE_TRAINING
    )
    stop: tuple[str, ...] = key((*SYSTEMCTL, "stop", UNIT), "Command that ends the server, and waits for that.")
    start: tuple[str, ...] = key((*SYSTEMCTL, "start", UNIT), "Command that starts it, and does not wait for its end.")
    api_key_file: Path | None = key(None, "File with the API key, readable by you alone; $VLLM_API_KEY goes before it.")
    output_tokens: int = key(16384, "Tokens per answer that opencode asks for at most.", least=1)
    extra: tuple[str, ...] = key((), 'More vLLM arguments, e.g. ["--tensor-parallel-size", "2"].')
    env: dict[str, str] = field(default_factory=dict, metadata={"help": "Environment of the vLLM process."})


@dataclass(frozen=True)
class Language:
    adapter: str = key(REQUIRED, "Name of the adapter and of the opencode agent.")
    extensions: tuple[str, ...] = key(REQUIRED, "File extensions, with the dot.", form=(r"\.\S+", "a dot first"))
    title: str = key("", "The language's name in prose; empty: the table's name.")
    files: tuple[str, ...] = key((), "File names that belong to the language.")
    commands: tuple[str, ...] = key((), "Commands that show work in the language.")
    output: tuple[str, ...] = key((), "Regular expressions over compiler and test output.", regex=True)
    grammar: str | None = key(None, "Python module of the tree-sitter grammar.")
    repositories: tuple[str, ...] = key((), "Repositories to mine; shell patterns are expanded to repositories.")
    min_examples: int = key(100, "Fewer, with those that are held out, are not trained on.", least=1)
    max_examples: int = key(500, "Examples to train on at most; the best are taken.", least=1)
    test: tuple[str, ...] = key((), 'The command that judges rollouts, e.g. ["cargo", "test", "--offline"].')
    synthetic: bool = key(False, "Fill up to min_examples with synthetic pairs.")
    name: str = ""  # the table's name; not a key
    training: Training = Training()  # [training] with [training.<name>] over it; not a key
