"""Qwen3.5 and later as the Hub has them, text and vision in one: an adapter is saved and named as vLLM serves it."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from safetensors.numpy import load_file, save_file
from specialists.config import Base, Problem, load_config
from specialists.records import read_json, write_json
from specialists.serving.lora import check_adapter
from test_training import SETTINGS, train

VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 64}
VISION |= {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 16}
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("composite")]
KINDS = {"qwen3_5": "Qwen3_5", "qwen3_5_moe": "Qwen3_5Moe"}


def save_composite(folder: Path, kind: str) -> Base:
    """A tiny checkpoint of `Qwen3_5(Moe)ForConditionalGeneration`: `model.language_model.*`, `model.visual.*`."""
    import torch
    import transformers

    text = tiny_models.base_config(f"{kind}_text", tiny_models.save_tokenizer(folder), tie_word_embeddings=False)
    config = getattr(transformers, f"{KINDS[kind]}Config")(text_config=text.to_dict(), vision_config=VISION)
    torch.manual_seed(0)
    getattr(transformers, f"{KINDS[kind]}ForConditionalGeneration")(config).save_pretrained(folder)
    return Base(str(folder), dtype="float32")


@pytest.fixture(scope="session", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    """A composite base and a version of an adapter that was trained on it, interrupted once."""
    from specialists.training import trainer

    folder = tmp_path_factory.mktemp(request.param)
    base, version = save_composite(folder / "base", request.param), folder / "version"
    save = trainer.save_adapter
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "save_adapter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        train(base, version, dataclasses.replace(SETTINGS, max_steps=2))
    assert trainer.save_adapter is save and (version / "checkpoint-2").is_dir()
    run = train(base, version)
    write_json(version / "manifest.json", {"base": {"template": run["template"]}, "modules": run["modules"]})
    return base, version


def test_what_was_trained_is_what_is_measured(trained) -> None:
    from specialists.evaluation.losses import BASE, EvaluatedModels

    base, version = trained
    row, *_ = EvaluatedModels(base, SETTINGS, {"adapter": version, "incumbent": version}).measure(tiny_models.rows(2))
    assert row["nll"]["adapter"] == row["nll"]["incumbent"] < row["nll"][BASE] - 0.5, "it has learned, and is loaded"


def test_it_is_checked_against_the_base_and_nothing_may_be_missing(trained, config_file, tmp_path) -> None:
    from specialists.evaluation.losses import EvaluatedModels

    base, version = trained
    config_file.write_text(config_file.read_text().replace("./base", base.model))
    assert check_adapter(version, load_config(config_file)) == []
    weights = load_file(version / "adapter_model.safetensors")
    lacking = {name: value for name, value in weights.items() if ".layers.0." not in name}
    as_peft = {name.replace("model.language_model.", "model."): value for name, value in weights.items()}
    for number, changed in enumerate((lacking, as_peft)):
        other = tmp_path / str(number)
        other.mkdir()
        save_file(changed, other / "adapter_model.safetensors", metadata={"format": "pt"})
        for name in ("adapter_config.json", "manifest.json"):
            (other / name).write_bytes((version / name).read_bytes())
    assert "the base has no such module" in check_adapter(tmp_path / "1", load_config(config_file))[0]
    with pytest.raises(Problem, match=r"weights of the adapter are missing in it \(.*layers\.0\."):
        EvaluatedModels(base, SETTINGS, {"adapter": tmp_path / "0"})


MAPPER = """
import importlib.machinery, json, sys
from unittest.mock import MagicMock
import vllm.model_executor.models.utils, transformers

class Torchvision:  # which the CPU environment leaves out; the classes of such models import it for pictures
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = MagicMock(__spec__=spec, __path__=[])
        module.__name__ = spec.name
        return module
    def exec_module(self, module):
        pass

sys.meta_path.append(Torchvision())
from vllm.lora.utils import parse_fine_tuned_lora_name as parse
from vllm.model_executor.models import qwen3_5
mapper = getattr(qwen3_5, sys.argv[1]).hf_to_vllm_mapper.get_rename_mapper()
print(json.dumps([parse(name, mapper)[0] for name in json.load(sys.stdin)]))
"""


def test_vllm_s_own_mapper_finds_every_module(trained) -> None:
    base, version = trained
    names = sorted(load_file(version / "adapter_model.safetensors"))
    served = read_json(Path(base.model) / "config.json")["architectures"][0]
    command = [sys.executable, "-c", MAPPER, served]
    done = subprocess.run(command, input=json.dumps(names), capture_output=True, text=True, check=True)
    mapped = json.loads(done.stdout.splitlines()[-1])
    assert len(mapped) == len(names) and all(re.match(r"language_model\.model\.layers\.\d\.", name) for name in mapped)
