"""Making something once: whole or not at all, and again when what makes it has changed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def make_once(target: Path, sources: Iterable[Path], build: Callable[[Path], None]) -> bool:
    """Have `build(path)` make a file or folder and move it to `target`, unless it was made from these sources already.

    Returns whether it was made. The stamp beside the target is written last, so a kill at any moment costs no more than
    making it again.
    """
    stamp = target.with_name(f".{target.name}.stamp")
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    if target.exists() and stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        built = Path(folder) / target.name
        build(built)
        stamp.unlink(missing_ok=True)
        if target.exists():
            os.replace(target, Path(folder) / "old")
        os.replace(built, target)
    stamp.write_text(digest.hexdigest())
    return True
