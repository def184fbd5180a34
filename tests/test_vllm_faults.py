"""The two faults of vLLM that vllm_server.py corrects: a case that fails is a fault that is gone, or not corrected."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from specialists.serving import vllm_server


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("corrected", [False, True])
def test_swapping_and_unloading(corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels as Models

    for name in ("load_lora_adapter", "unload_lora_adapter"):
        monkeypatch.setattr(Models, name, getattr(Models, name))  # put back afterwards
    if corrected:
        vllm_server.correct()
    engine = AsyncMock()
    models = Models(engine, [SimpleNamespace(name="base", model_path="/base")])
    request = {"lora_name": "build-rust", "lora_path": "/1", "load_inplace": True, "is_3d_lora_weight": False}

    async def swap() -> bool:
        await models.load_lora_adapter(SimpleNamespace(**request))
        kept = models.lora_requests["build-rust"].load_inplace
        await models.unload_lora_adapter(SimpleNamespace(lora_name="build-rust", lora_int_id=None))
        return kept

    assert asyncio.run(swap()) is not corrected, "vLLM reads a swapped adapter at every step (issue 33791)"
    assert bool(engine.remove_lora.await_count) is corrected, "vLLM keeps the slot of an unloaded adapter (issue 54839)"
