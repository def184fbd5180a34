"""What the effect check finds in made-up losses, and which texts it asks for. With the real vLLM: test_served.py."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from specialists.config import Config, Problem, load_config
from specialists.records import write_json, write_records
from specialists.serving import effect

BASE, EFFECT = [2.0, 3.0], [-0.4, -0.2]
APPLIED = [base + effect for base, effect in zip(BASE, EFFECT, strict=True)]


def through_peft(shift: float = 0.0, share: float = 1.0) -> list[tuple[float, float]]:
    """(base, adapter) as evaluated: the base off by `shift` from the served one, the effect `share` of the served."""
    return [(base + shift, base + shift + share * effect) for base, effect in zip(BASE, EFFECT, strict=True)]


WRONG = "applies it wrongly"
TABLE = {  # name: (adapter, base again, base beside the adapter, through PEFT, what is reported)
    "applied": (APPLIED, BASE, BASE, through_peft(), None),
    "not measured before": (APPLIED, BASE, BASE, [None, None], None),
    "a module left out": (APPLIED, BASE, BASE, through_peft(share=2.0), f"{WRONG}: 0.300 off an effect of 0.600"),
    "the other way round": (APPLIED, BASE, BASE, through_peft(share=-1.0), WRONG),
    "a quantised base": (APPLIED, BASE, BASE, through_peft(shift=0.1, share=1.3), None),
    "a quantised base, wrong": (APPLIED, BASE, BASE, through_peft(shift=0.02, share=2.0), WRONG),
    "a base far off": (APPLIED, BASE, BASE, through_peft(shift=0.3, share=1.9), None),
    "a base far off, over half of the effect lost": (APPLIED, BASE, BASE, through_peft(shift=0.3, share=2.2), WRONG),
    "no effect": (BASE, BASE, BASE, through_peft(), "answers as the base does"),
    "no more than noise": ([2.05, 3.05], [2.04, 3.0], BASE, through_peft(), "as the base does"),
    "no number": ([float("nan")] * 2, BASE, BASE, through_peft(), "not finite"),
    "no number through PEFT": (APPLIED, BASE, BASE, [(2.0, 1.6), (3.0, float("nan"))], "not finite"),
    "the base gets the adapter": (APPLIED, BASE, APPLIED, through_peft(), "otherwise beside it: off by 0.400"),
    "the base a little off": (APPLIED, BASE, [2.01, 3.0], through_peft(), None),
}


@pytest.mark.parametrize("case", TABLE)
def test_losses_show_whether_an_adapter_is_applied(case) -> None:
    adapter, again, beside, measured, fault = TABLE[case]
    found = effect.compare({"base": BASE, "again": again, "beside": beside, "adapter": adapter}, measured)
    assert len(found) == (fault is not None) and (fault or "") in "".join(found)


@pytest.mark.parametrize(("answer", "fine"), [(1.6, True), (1.65, True), (2.0, False), (1.8, False), (math.nan, False)])
def test_after_a_swap_the_name_answers_as_the_candidate_did(answer, fine, config, tmp_path, monkeypatch) -> None:
    write_json(tmp_path / effect.EFFECT, {"served": {"base": BASE, "again": BASE, "adapter": APPLIED}})
    monkeypatch.setattr(effect, "loss", lambda *_: answer)
    assert (effect.check_swapped(config, config.language("rust"), tmp_path) == []) == fine


def test_another_vllm_tries_again(config, monkeypatch) -> None:
    before = effect.served_as(config)
    monkeypatch.setattr(effect, "distributions", lambda name: [SimpleNamespace(version="9.9.9")])
    assert effect.served_as(config) != before


@pytest.fixture
def config(config_file: Path, tmp_path: Path) -> Config:
    tiny_models.save_tokenizer(tmp_path / "base")
    return load_config(config_file)


def test_probes_are_the_rows_that_the_adapter_changed_most(config, tmp_path) -> None:
    rows = tiny_models.rows(8)
    write_records(config.paths.data / "heldout" / "rust.jsonl", rows)
    losses = [{"base": 20.0, "adapter": 20.0 - number} for number in range(7)]
    measured = [{"id": row["id"], "tokens": 10, "nll": nll} for row, nll in zip(rows, losses, strict=False)]
    write_json(tmp_path / "version" / "evaluation.json", {"measurements": measured})
    texts = effect.probes(config, config.language("rust"), tmp_path / "version")
    assert [text["measured"] for text in texts] == [pytest.approx((2.0, 2.0 - number / 10)) for number in (6, 5, 4, 3)]
    assert all(len(text["tokens"]) == len(text["labels"]) for text in texts)
    rows[0]["messages"][1]["content"] = "long " * 200
    write_records(config.paths.data / "heldout" / "rust.jsonl", rows)
    lengths = [len(text["tokens"]) for text in effect.probes(config, config.language("rust"), tmp_path / "version")]
    assert len(lengths) == 4 and lengths[0] > effect.LONG >= max(lengths[1:]), "one is long where a row is"


def test_without_an_evaluation_the_frozen_set_is_asked(config, tmp_path) -> None:
    texts = effect.probes(config, config.language("rust"), tmp_path / "never")
    assert len(texts) == effect.PROBES and {text["measured"] for text in texts} == {None}


def test_texts_that_the_server_cannot_take(config, config_file, tmp_path) -> None:
    config_file.write_text(config_file.read_text() + "\n[serving]\nmax_model_len = 256\n")
    rows = tiny_models.rows(1)
    rows[0]["messages"][1]["content"] = "long " * 500
    write_records(config.paths.data / "heldout" / "rust.jsonl", rows)
    measured = [{"id": rows[0]["id"], "tokens": 10, "nll": {"base": 20.0, "adapter": 1.0}}]
    write_json(tmp_path / "version" / "evaluation.json", {"measurements": measured})
    with pytest.raises(Problem, match=r"no held-out row fits serving\.max_model_len 256"):
        effect.probes(load_config(config_file), config.language("rust"), tmp_path / "version")
