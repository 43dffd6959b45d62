"""The garbage collector: full collections look through all that lives, and the loop stands still for them.

A broker with a million topic levels in its trees has some millions of objects, and a full collection took 150
ms, again whenever a quarter had come on top. So what one has left alive that took long is not looked at again
(`gc.freeze`): nearly all of it ends by its reference count. What is frozen and ends as a cycle is found after
a reload.
"""

from __future__ import annotations

import gc
import time

FREEZE_S = 0.01
"""A full collection that took longer is the last one for all that lives then."""
_begun = 0.0


def settle() -> None:
    """What lives now stays: the garbage collector need not look through it again and again.

    With a thousand webhooks that was a twentieth of the time under load.
    """
    gc.unfreeze()  # what has ended is to be found
    gc.collect()
    gc.freeze()


def bound_pauses() -> None:
    """From now on; calling it again changes nothing."""
    if _collected not in gc.callbacks:
        gc.callbacks.append(_collected)


def _collected(phase: str, info: dict[str, int]) -> None:
    global _begun  # noqa: PLW0603  collections do not nest
    if info["generation"] != 2:
        return
    if phase == "start":
        _begun = time.perf_counter()
    elif time.perf_counter() - _begun > FREEZE_S:
        gc.freeze()
