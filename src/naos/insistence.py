"""Asking an engine again: for work that only goes forward, where half of it done is worse than waiting a moment."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from naos.engines.errors import Busy, EngineError, Unsupported

PAUSES_SECONDS = (0.1, 1.0)

_log = structlog.get_logger()


def insist(call: Callable[..., Any], *arguments: Any) -> Any:
    """`call(*arguments)`, again after a short pause when the engine fails: an answer that was lost is found by the repeat.

    Raises what the last attempt raises; Busy and Unsupported, which are answers, at once.
    """
    for pause in PAUSES_SECONDS:
        try:
            return call(*arguments)
        except (Busy, Unsupported):
            raise
        except EngineError as error:
            _log.warning("engine.asked_again", call=getattr(call, "__name__", ""), reason=str(error))
            time.sleep(pause)
    return call(*arguments)
