"""The base model in 4 bits, kept on disk between runs, so that five adapters do not quantise it five times.

One folder holds one such model, named by a hash over everything that its bytes depend on; a newer one replaces it.
"""

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file

from specialists.cli import say, size
from specialists.config import Base, fingerprint
from specialists.training.nf4 import METHOD

_NAME, _BUILDING = "nf4-", ".nf4-"  # what this module made, and may remove, begins so


def folder_of(base: Base) -> Path | None:
    """Where this base is kept, whether it is there yet or not; None where `base.prepared` is empty."""
    if not base.prepared:
        return None
    source = Path(cached_file(base.model, "config.json", revision=base.revision, local_files_only=True)).parent
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(source.glob("*.*"))]
    code = Path(__file__).with_name("nf4.py").read_text(encoding="utf-8")
    versions = [version(library) for library in ("torch", "transformers", "bitsandbytes")]
    return base.prepared / f"{_NAME}{fingerprint(str(source), files, base.dtype, code, versions)}"


def load(base: Base, config: Any, options: dict[str, Any]) -> Any | None:
    """The kept model, with the base's configuration and from_pretrained options; None where there is none to read."""
    folder = folder_of(base)
    if not folder or not folder.is_dir():
        return None
    config.quantization_config = {"quant_method": METHOD, "dtype": base.dtype}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, **{**options, "revision": None})
    except (OSError, SafetensorError) as error:
        say(f"{folder}: cannot be read ({error}); the base is quantised again")
        shutil.rmtree(folder, ignore_errors=True)
        return None
    model.name_or_path = model.config.name_or_path = base.model  # which peft writes into an adapter's configuration
    return model


def keep(model: Any, base: Base) -> None:
    """Write the model for the next run, all of it or nothing; where there is no room, report it and go on."""
    folder = folder_of(base)
    if not folder or folder.is_dir() or int(os.environ.get("RANK", 0)):  # one of a launcher's processes writes
        return
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for path in [*parent.glob(f"{_NAME}*"), *parent.glob(f"{_BUILDING}*")]:
            shutil.rmtree(path)  # another base's, or what a killed run left
        needed, free = sum(value.nbytes for value in model.state_dict().values()), shutil.disk_usage(parent).free
        if free < 2 * needed:
            say(f"{parent}: {size(free)} free; the 4-bit base ({size(needed)}) is not kept")
            return
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=parent, ignore_cleanup_errors=True) as building:
            model.save_pretrained(Path(building), save_original_format=False, max_shard_size="5GB")
            for path in Path(building).iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())  # after a power cut there is a whole model under its name, or none
            os.rename(building, folder)
    except OSError as error:
        say(f"{parent}: the 4-bit base is not kept ({error})")
