"""From rows to a verdict on real tiny models: a harmful adapter is blocked, a useless one held, a good one promoted."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import evaluate as evaluation
import pytest
import tiny_models
from conftest import invoke
from controls import copy_task, form_only
from safetensors.numpy import load_file, save_file
from servers import answering, models_answer
from specialists.adapters import adapter_folder, is_evaluated
from specialists.config import Base, Config, Evaluation, load_config
from specialists.evaluation import losses
from specialists.evaluation.gate import verdict
from specialists.records import read_json, read_records, write_records
from specialists.secrets import Rules, redact
from specialists.server import served_models
from test_training import SETTINGS

pytestmark = pytest.mark.slow

EVALUATION = """
[training]
quantization = "none"
max_length = 512

[evaluation]
generate = 0
forgetting = 0.5
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base and an adapter trained on it."""
    from specialists.training.trainer import train_adapter

    folder = tmp_path_factory.mktemp("trained")
    tiny_models.save_base(folder / "base")
    (folder / "adapter").mkdir()
    base = Base(model=str(folder / "base"), dtype="float32")
    train_adapter(tiny_models.rows(24)[:12], base, dataclasses.replace(SETTINGS, max_steps=8), folder / "adapter")
    return folder


@pytest.fixture
def config(config_file: Path, trained: Path) -> Config:
    text = config_file.read_text().replace('model = "./base"', f'model = "{trained / "base"}"\ndtype = "float32"')
    config_file.write_text(text + EVALUATION)
    config = load_config(config_file)
    write_records(config.paths.data / "heldout" / "python.jsonl", tiny_models.rows(24)[12:])
    return config


def version(config: Config, trained: Path, name: str, factor: float) -> Path:
    """The trained adapter with its effect multiplied, as the newest version."""
    folder = adapter_folder(config, config.language("python"))
    path = folder.path / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_bytes((trained / "adapter" / "adapter_config.json").read_bytes())
    weights = load_file(trained / "adapter" / "adapter_model.safetensors")
    scaled = {key: value * (factor if "lora_B" in key else 1) for key, value in weights.items()}
    save_file(scaled, path / "adapter_model.safetensors", metadata={"format": "pt"})
    (path / "manifest.json").write_text(json.dumps({"version": name, "base": {"model": config.base.model}}))
    folder.point("latest", path)
    return path


def evaluate(config: Config, *options: str) -> dict:
    done = invoke("evaluate", config.path, "--language", "python", "--json", *options)
    assert done.exit_code == 0, done.output
    return {**json.loads(done.stdout), "said": done.stderr}


@pytest.mark.parametrize(
    ("factor", "verdict", "reason"),
    [
        (1.0, "hold", "style, no skill: "),  # all requests are for the same
        (-1.0, "block", "worse than the base"),
        (0.001, "hold", "too small a gain"),
        (0.0, "block", "the adapter has no effect"),
    ],
)
def test_what_an_adapter_does_decides(config, trained, factor, verdict, reason) -> None:
    made = version(config, trained, "1", factor)
    result = evaluate(config)
    assert (result["verdict"], reason in result["reason"]) == (verdict, True), result["reason"]
    assert is_evaluated(config, config.language("python"))
    kept = read_json(made / "evaluation.json")
    assert len(kept["measurements"]) == 12 and len(kept["frozen"]) == 24
    assert result["clusters"] == 12 and set(result["parts"]) == {"changed", "code", "syntax", "prose"}
    for row in kept["measurements"]:
        assert sum(part["tokens"] for part in row["parts"].values()) == row["tokens"]
        total = sum(part["nll"]["adapter"] for part in row["parts"].values())
        assert total == pytest.approx(row["nll"]["adapter"], rel=1e-5)


def test_an_incumbent_a_prompt_and_the_frozen_set_are_measured_on_the_same_rows(config, trained, tmp_path) -> None:
    (tmp_path / "AGENTS.md").write_text("Use tabs.")
    text = config.path.read_text().replace("[owner]", '[owner]\nexclude = ["repository gone"]')
    config.path.write_text(text + 'instructions = "./AGENTS.md"\n')
    config = load_config(config.path)
    folder = adapter_folder(config, config.language("python"))
    folder.point("current", version(config, trained, "1", 1.0))
    version(config, trained, "2", 0.9)
    others = list(read_records(config.rows("heldout", "python")))
    excluded = {**others[0], "id": "f" * 16, "source": {**others[0]["source"], "repository": "gone", "session": "x"}}
    write_records(config.rows("others", "python"), [*others, excluded])
    result = evaluate(config)
    assert len(read_json(folder.latest / "evaluation.json")["others"]) == 12, "not what the owner excludes"
    assert (result["own"]["adapter"], result["own"]["clusters"]) == (result["style"]["difference"], 12)
    assert result["own"]["base"] < 0 and result["own"]["base"] != result["own"]["adapter"]  # behind the agent's prompt
    assert result["verdict"] == "hold" and "worse than the incumbent" in result["reason"], result["reason"]
    assert result["prompt"]["difference"] < 0 and result["prompt"]["prompt"] != result["loss"]["base"]
    assert result["forgetting"]["base"] > 0
    assert is_evaluated(config, config.language("python"))
    (tmp_path / "AGENTS.md").write_text("Use spaces.")
    assert not is_evaluated(config, config.language("python"))


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A tiny base that writes the calls of the copy task, and no code of it."""
    folder = tiny_models.save_base(tmp_path_factory.mktemp("learner") / "base")
    tiny_models.pretrain(folder, form_only(copy_task(320, seed=3)))
    return Base(str(folder), dtype="float32")


@pytest.mark.xdist_group("learner")
@pytest.mark.parametrize("control", [False, True], ids=["skill", "form only"])
def test_skill_is_promoted_and_form_is_not(control: bool, learner: Base, tmp_path: Path) -> None:
    """The new code stands in the request; of the control's rows it stands in another one's."""
    from specialists.evaluation.losses import EvaluatedModels, nearest_examples
    from specialists.training.trainer import train_adapter

    rows = copy_task(160)
    learned, folder = rows[20:], tmp_path / "adapter"
    folder.mkdir()
    settings = dataclasses.replace(SETTINGS, max_steps=70)
    train_adapter(form_only(learned) if control else learned, learner, settings, folder)
    models = EvaluatedModels(learner, settings, {"adapter": folder})
    examples = [{"examples": "\n\n".join(near)} for near in nearest_examples(rows[:20], learned)]
    result = verdict(models.measure(rows[:20], examples), Evaluation())
    assert (result["verdict"] == "promote", "skill: " in result["reason"]) == (not control, not control), result[
        "reason"
    ]
    assert result["examples"]["clusters"] == 20 and result["rows"] == 20


def vllm(served: dict[str, str], asked: list[dict], text: str = "") -> Callable:
    """A stand-in: a loss of 1 nat per token for the base, 0.5 for adapters, which also write a text."""

    def answer(path: str, body: bytes) -> tuple[int, object]:
        if path == "/v1/models":
            return models_answer(served)
        asked.append(json.loads(body))
        if path == "/v1/load_lora_adapter":
            return (500, "no") if "refused" in asked.pop()["lora_path"] else (200, "Success")
        loss, written = (1.0, "") if asked[-1]["model"] == "base" else (0.5, text)
        logprobs = [None, *({str(token): {"logprob": -loss}} for token in asked[-1]["prompt"][1:])]
        return 200, {"choices": [{"prompt_logprobs": logprobs, "text": written, "finish_reason": "stop"}]}

    return answer


def serving(config: Config, port: int, more: str = "") -> Config:
    """The configuration with a server at that port."""
    config.path.write_text(f"{config.path.read_text()}\n[serving]\nport = {port}\n{more}")
    return load_config(config.path)


def test_all_rows_that_fit_are_measured_in_the_server_once(config, trained) -> None:
    rows = tiny_models.rows(24)[12:]
    rows[0]["messages"][1]["content"] = "long " * 45
    write_records(config.rows("heldout", "python"), rows)
    folder = adapter_folder(config, config.language("python"))
    folder.point("current", version(config, trained, "1", 0.9))
    made, asked = version(config, trained, "2", 1.0), []
    with answering(vllm({"base": "", "build-python": str(folder.path / "1")}, asked)) as port:
        config = serving(config, port, f'max_model_len = 400\nmodel = "{config.base.model}"\n')
        result = evaluate(config)
        assert (result["verdict"], result["measured_on"], result["rows"]) == ("hold", "served", 11), result["reason"]
        assert result["loss"]["base"] == 1.0 and result["loss"]["adapter"] == result["incumbent"]["incumbent"] == 0.5
        models = [ask["model"] for ask in asked if "model" in ask]
        assert Counter(models) == dict.fromkeys(("base", "build-python", ".candidate"), 11 + 11 + 24)
        assert f"left out, over serving.max_model_len 400: {rows[0]['id']}" in result["said"]
        count = len(asked)
        assert evaluate(config)["reason"] == result["reason"] and len(asked) == count
    assert len(read_json(made / "evaluation.json")["measurements"]) == 12, "as PEFT has it"


FAKE = redact("ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2", Rules())[0]  # had it been a secret, it would be out


@pytest.mark.parametrize(
    ("name", "text", "verdict", "reason"),
    [
        ("1", "ghp_other", "hold", "style, no skill: "),
        ("1", FAKE.removeprefix("ghp_"), "block", "it writes secrets: github token of a training row"),
        ("refused", "", "block", ".candidate: the running server refuses refused"),
    ],
)
def test_turns_are_written_by_the_server_alone(name, text, verdict, reason, config, trained, monkeypatch) -> None:
    monkeypatch.setattr(losses, "vllm_parser", lambda *_: lambda _text: [])
    rows = tiny_models.rows(24)[:12]
    rows[0]["messages"][-1]["content"] = f"token {FAKE}"
    write_records(config.rows("train", "python"), rows)
    made = version(config, trained, name, 1.0)
    config.path.write_text(config.path.read_text().replace("generate = 0", "generate = 3"))
    with answering(vllm({"base": ""}, [], text)) as port:
        config = serving(config, port)
        monkeypatch.setattr(evaluation, "served_models", lambda _config: None)
        result = evaluate(config)
        assert (result["verdict"], result["measured_on"], "generated" in result) == ("wait", "training base", False)
        assert "in the server; on the base that was trained on, hold: style" in result["reason"]
        assert not is_evaluated(config, config.language("python"))
        monkeypatch.setattr(evaluation, "served_models", served_models)
        result = evaluate(config)
    assert (result["verdict"], reason in result["reason"]) == (verdict, True), result["reason"]
    if name == "1":
        assert {model: found["answers"] for model, found in result["generated"].items()} == {"base": 3, "adapter": 3}
        answers = read_json(made / "evaluation.json")["answers"]
        assert [row["id"] for row in answers["base"]] == [row["id"] for row in answers["adapter"][1:]]
