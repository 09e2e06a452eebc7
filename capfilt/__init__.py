"""capfilt: turn noisy image-text pairs into a clean corpus (CapFilt of BLIP, as a service).

    import capfilt

    run = capfilt.run("urls.parquet", out="OUT", recipe="blip", set={"caption.n": 2})
    run.captions().df()

Importing this package loads no torch, Ray or DuckDB; each name loads what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from capfilt.core.version import __version__

if TYPE_CHECKING:
    from capfilt.api.check import Check, check
    from capfilt.api.models import LoadedCaptioner, LoadedJudge, load_captioner, load_judge
    from capfilt.api.names import list_captioners, list_judges, list_policies
    from capfilt.api.run import Run, open, run
    from capfilt.core.errors import (
        BusyError,
        CapfiltError,
        ChangedError,
        ConfigError,
        InputError,
        IntegrityError,
        ModelError,
        RunFailed,
        UserError,
    )

__all__ = [
    "BusyError",
    "CapfiltError",
    "ChangedError",
    "Check",
    "ConfigError",
    "InputError",
    "IntegrityError",
    "LoadedCaptioner",
    "LoadedJudge",
    "ModelError",
    "Run",
    "RunFailed",
    "UserError",
    "__version__",
    "check",
    "list_captioners",
    "list_judges",
    "list_policies",
    "load_captioner",
    "load_judge",
    "open",
    "run",
]

_MODULES: Final = {
    "capfilt.api.check": ("Check", "check"),
    "capfilt.api.models": ("LoadedCaptioner", "LoadedJudge", "load_captioner", "load_judge"),
    "capfilt.api.names": ("list_captioners", "list_judges", "list_policies"),
    "capfilt.api.run": ("Run", "open", "run"),
}
_PLACES: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of `__all__` when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'capfilt' has no attribute {name!r}")
    value = getattr(import_module(_PLACES.get(name, "capfilt.core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
