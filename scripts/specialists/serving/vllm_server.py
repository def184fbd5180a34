"""vLLM's own server, with two faults of 0.32 corrected that swapping adapters for months would meet.

It keeps `load_inplace` in what it remembers of an adapter, so that after a swap each step of the model reads the
adapter from disk again, and the engine dies of a folder that was removed meanwhile (vllm issue 33791). And an unloaded
adapter keeps its slot; once all are taken, CPU kernels answer base requests with the last one's adapter.

Run as `python -P vllm_server.py ARGUMENTS…`: without -P the modules beside it would hide Python's own, and vLLM.
"""

import runpy
from typing import Any


def correct() -> None:
    """Have vLLM read an adapter once, and give up the slot of one that it forgets."""
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels as Models

    load, unload = Models.load_lora_adapter, Models.unload_lora_adapter

    async def load_once(self: Models, request: Any, *more: Any, **named: Any) -> Any:
        answer = await load(self, request, *more, **named)
        if known := self.lora_requests.get(request.lora_name):
            known.load_inplace = False
        return answer

    async def unload_whole(self: Models, request: Any) -> Any:
        known = self.lora_requests.get(request.lora_name)
        answer = await unload(self, request)
        if known and request.lora_name not in self.lora_requests:
            await self.engine_client.remove_lora(known.lora_int_id)
        return answer

    Models.load_lora_adapter, Models.unload_lora_adapter = load_once, unload_whole


if __name__ == "__main__":
    correct()
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
