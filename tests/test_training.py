"""Training on tiny models of the real architectures: the modules that were meant, the loss falls, the same bytes."""

import dataclasses
import hashlib
import importlib
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from specialists.config import Base, Problem, Training
from specialists.records import make_record

FAST = {"max_steps": 4, "learning_rate": 1e-2, "gradient_accumulation": 2}
SETTINGS = Training(optimizer="adamw_torch", quantization="none", **FAST)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    folders = {name: tmp_path_factory.mktemp("bases") / name for name in ("qwen3", "qwen3_next")}
    return {name: Base(str(tiny_models.save_base(path, name)), dtype="float32") for name, path in folders.items()}


def train(base: Base, folder: Path, settings: Training = SETTINGS, count: int = 8) -> dict:
    from specialists.training import trainer

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_STEPS", 2)
        return trainer.train_adapter(tiny_models.rows(count), base, settings, folder)


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_next"])
def test_what_was_trained_is_what_is_loaded(bases, architecture, tmp_path, monkeypatch) -> None:
    import torch
    from specialists.chat import Chat
    from specialists.evaluation.losses import BASE, EvaluatedModels
    from specialists.training import trainer
    from specialists.training.base_model import load_base

    ids, trained, rates, save = torch.arange(3, 67).reshape(2, 32), [], [], trainer.save_adapter

    def remember(of: SimpleNamespace, *more: object) -> None:
        save(of, *more)
        rates.extend(entry["learning_rate"] for entry in of.state.log_history if "learning_rate" in entry)
        with torch.no_grad():
            trained.append(of.model.eval()(input_ids=ids).logits)

    monkeypatch.setattr(trainer, "save_adapter", remember)
    run = train(bases[architecture], tmp_path)
    assert rates[0] == 0 and rates[1] == SETTINGS.learning_rate > rates[2] > rates[3] > 0, "warm-up, then the cosine"
    assert run["schedule"] == {"kind": "cosine", "warmup_steps": 1}
    source = "transformers.models.qwen3_next.modeling_qwen3_next" if architecture == "qwen3_next" else None
    assert run["gated_delta_rule"] == source, "there are no kernels for a CPU"
    losses = [loss for _step, loss in run["losses"]]
    assert losses[-1] < losses[0] - 0.1, "it learns"
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    models = EvaluatedModels(bases[architecture], SETTINGS, {"adapter": tmp_path})
    with torch.no_grad():
        assert torch.equal(models.model(input_ids=ids).logits, trained[0])
    rows = tiny_models.rows(3)
    measured = models.measure(rows)
    assert all(row["nll"]["adapter"] < row["nll"][BASE] for row in measured)
    chat, base = Chat.load(bases[architecture].model), load_base(bases[architecture], "none")
    for row, found in zip(rows, measured, strict=True):
        ids, labels = (torch.tensor([part]) for part in vars(chat.encode(row)).values())
        nll = base(input_ids=ids, labels=labels).loss.item() * found["tokens"]
        assert nll == pytest.approx(found["nll"][BASE], rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "damaged"),
    [("qwen3", "complete"), ("qwen3_next", "optimizer.pt"), ("qwen3", "adapter_model.safetensors")],
)
def test_a_killed_run_goes_on_to_the_same_bytes(bases, architecture, damaged, tmp_path, monkeypatch) -> None:
    from specialists.training import trainer
    from specialists.training.monitor import COMPLETE

    def kill(*_arguments: object) -> None:
        raise KeyboardInterrupt

    train(bases[architecture], tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "save_adapter", kill)
        train(bases[architecture], killed)
    assert (killed / "checkpoint-2" / COMPLETE).exists()
    if damaged == COMPLETE:  # as a kill in the middle of writing it leaves it
        (killed / "checkpoint-4" / COMPLETE).unlink()
    else:  # as a machine that died leaves it
        os.truncate(killed / "checkpoint-4" / damaged, 1000)
    (killed / "adapter_model.safetensors").write_bytes(b"half")
    train(bases[architecture], killed)
    assert weights(killed) == weights(tmp_path / "undisturbed")


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(bases, tmp_path, monkeypatch) -> None:
    from trl import SFTTrainer

    compute = SFTTrainer.compute_loss

    def broken(self: SFTTrainer, model: object, inputs: dict, *arguments: object, **options: object) -> object:
        loss = compute(self, model, inputs, *arguments, **options)
        return loss * float("nan") if self.state.global_step == 3 else loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", broken)
    with pytest.raises(Problem, match=r"step 4: the loss is nan.*the last good checkpoint is kept: .*checkpoint-2"):
        train(bases["qwen3"], tmp_path)


def test_rows_that_cannot_be_trained_on_are_named(bases) -> None:
    from specialists.chat import Chat
    from specialists.training.trainer import encode_rows

    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]
    rows = [*tiny_models.rows(1), make_record("rust", messages, [], {"kind": "session", "time": ""})]
    with pytest.raises(Problem) as raised:
        encode_rows(rows, Chat.load(bases["qwen3"].model), 64)
    too_long, untargeted = str(raised.value).splitlines()
    assert re.fullmatch(rf"row {rows[0]['id']}: \d+ tokens after its head, over training.max_length 64", too_long)
    assert untargeted.startswith(f"row {rows[1]['id']}: nothing supervised")


def test_a_server_that_is_started_after_training_logs_as_usual() -> None:
    importlib.import_module("specialists.training.trainer")
    assert "VLLM_LOGGING_LEVEL" not in os.environ  # TRL sets it, and children inherit it


def test_rows_of_like_length_share_a_batch_and_padding_is_not_learned(bases, tmp_path, monkeypatch) -> None:
    from specialists.training.trainer import train_adapter
    from trl import SFTTrainer

    seen, compute = [], SFTTrainer.compute_loss

    def remember(self: SFTTrainer, model: object, inputs: dict, *arguments: object, **options: object) -> object:
        seen.append(inputs["attention_mask"].sum(dim=1).tolist())
        assert (inputs["labels"][inputs["attention_mask"] == 0] == -100).all()
        return compute(self, model, inputs, *arguments, **options)

    monkeypatch.setattr(SFTTrainer, "compute_loss", remember)
    rows = tiny_models.rows(32)
    for number, row in enumerate(rows):
        row["messages"][1]["content"] += " please" * (number * 5 % 32)
    settings = dataclasses.replace(SETTINGS, batch_size=2, gradient_accumulation=1, max_steps=8)
    train_adapter(rows, bases["qwen3"], settings, tmp_path)
    apart = [abs(first - second) / 6 for first, second in seen]  # " please" is six tokens
    assert len(apart) == 8 and sum(apart) / 8 < 6  # of 32 lengths; two at random are 11 apart


@pytest.mark.parametrize("terminal", [True, False])
def test_how_far_it_is_and_the_time_left(terminal, monkeypatch, capsys) -> None:
    from specialists.training import monitor as module

    clock = iter([0, 500, 521, 542, 563, 584])  # made; five steps, the first of which compiles kernels
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monitor = module.Monitor(terminal)
    for step in range(11, 16):  # of a run that goes on from step 10
        state = SimpleNamespace(global_step=step, max_steps=40, is_world_process_zero=True)
        monitor.on_log(None, state, None, logs={"loss": 1.25, "learning_rate": 1e-4})
    monitor.bar.close()
    shown = capsys.readouterr().err
    lines = ["step 12 of 40, loss 1.2500, 10 min left", "step 15 of 40, loss 1.2500, 9 min left"]
    assert shown.splitlines() == lines if not terminal else "15/40" in shown and "loss=1.2500" in shown
