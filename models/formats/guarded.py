"""The one door to libraries that load models. A checkpoint is data: its files choose neither code nor a host.

Everything that calls `transformers`, `timm`, `open_clip`, `tokenizers`, `safetensors` or `torch.load` to read a
checkpoint stands here (`tests/test_architecture.py`). Nothing but tensors, numbers and strings is unpickled, code of a
folder is never imported, and while a library works, the hub's client is offline and has no token.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import ADAPTER, CONFIG, weight_files
from capfilt.models.formats.open_clip_source import OpenClipSource
from capfilt.models.json_file import leaves, read_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

_OFFLINE = threading.RLock()
_NAMES_ANOTHER: Final = {
    "audio_tokenizer",
    "audio_tokenizer_name_or_path",
    "base_model_name_or_path",
    "use_pretrained_backbone",
    "hf_model_name",
}
"""Settings by which a configuration makes `transformers` load a second model."""
_PLAIN: Final = ("F64", "F32", "F16", "BF16")
"""Types of weights, as safetensors name them."""
_KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation")
"""Settings that may name code of the hub, as `owner/kernel`."""


@contextmanager
def offline() -> Iterator[None]:
    """No request by the hub's client, which transformers, timm and open_clip share; for all threads meanwhile."""
    import huggingface_hub

    constants: Any = huggingface_hub.constants
    with _OFFLINE:
        # Being offline belongs to the library's process, not to one call: so one thread at a time, and put back.
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def load_model(kind: str, folder: Path, device: str, dtype: torch.dtype) -> Any:
    """The model of a class of `transformers`, on its device, evaluating.

    Raises:
        ModelError: an unknown class, a missing file, missing weights or such of other shapes; one line.
    """
    if not read_object(folder / CONFIG).get("quantization_config"):  # of which transformers takes care, or says why not
        check_tensors(weight_files(folder))
    model, loaded = _from_folder(kind, folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):  # transformers would leave them random, and only warn
        raise ModelError(f"{folder}: {len(missing)} tensors are missing, {missing[0]} for one")
    return model.to(device).eval()


def load_part(kind: str, folder: Path) -> Any:
    """A tokenizer, a processor or a configuration of `transformers`.

    Raises:
        ModelError: it is not there, or cannot be read; one line.
    """
    return _from_folder(kind, folder)


def load_tensors(files: Sequence[Path], device: str = "cpu", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All tensors of safetensors files, mapped where they need no conversion.

    Raises:
        ModelError: a file that is missing or broken.
    """
    from safetensors import safe_open

    check_tensors(files)
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt", device=device) as file:
                for name in file.keys():  # noqa: SIM118 the file is no dict, and cannot be iterated
                    tensor = file.get_tensor(name)
                    tensors[name] = tensor if dtype is None else tensor.to(dtype)
        except Exception as error:  # safetensors raises bare Exceptions
            raise ModelError(f"{path}: {_line(error)}") from error
    return tensors


def check_tensors(files: Sequence[Path]) -> None:
    """Make sure, by their headers alone, that each tensor stands in one file and that weights are plain numbers.

    Quantized ones would be loaded as if they were not, without the scale that belongs to them.

    Raises:
        ModelError: a file that is missing or broken, a tensor that stands in two, or quantized weights.
    """
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                kinds = {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 no dict
        except Exception as error:  # safetensors raises bare Exceptions
            raise ModelError(f"{path}: {_line(error)}") from error
        for name, kind in kinds.items():
            if name in found:
                raise ModelError(f"{path}: {name} stands in {found[name].name} too")
            if name.endswith("weight") and kind not in _PLAIN:
                raise ModelError(f"{path}: {name} holds {kind}: quantized weights are not supported")
        found |= dict.fromkeys(kinds, path)


def load_pickle(path: Path) -> Any:
    """Tensors, numbers and strings that torch has pickled, on the CPU; a file that wants more is refused.

    Raises:
        ModelError: the file is broken, or holds something that could run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds
        raise ModelError(f"{path}: no file of plain tensors ({_line(error)})") from error


def load_tokenizer_file(path: Path) -> "Backend":
    """A `tokenizer.json`.

    Raises:
        ModelError: it cannot be read.
    """
    from tokenizers import Tokenizer as Backend

    try:
        return Backend.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"{path}: {_line(error)}") from error


def open_clip_model(source: OpenClipSource) -> Any:
    """An open_clip model with the weights of one safetensors file."""
    import open_clip

    library: Any = open_clip
    shape = {name: value for name, value in source.shape.items() if name != "custom_text"}
    # False: building the layers would otherwise download weights that are replaced at once.
    shape["vision_cfg"] = shape["vision_cfg"] | {"timm_model_pretrained": False}
    shape["text_cfg"] = shape["text_cfg"] | {"hf_model_pretrained": False}
    if source.text_tower:  # its settings were fetched when it was found: open_clip would ask the hub here
        check_settings(source.text_tower)
        shape["text_cfg"]["hf_model_name"] = str(source.text_tower)
    own_text = source.shape.get("custom_text") or "hf_model_name" in shape["text_cfg"]
    kind = library.CoCa if "multimodal_cfg" in shape else library.CustomTextCLIP if own_text else library.CLIP
    check_tensors([source.weights])
    with offline():
        model = kind(**shape)
        library.load_checkpoint(model, str(source.weights), weights_only=True)
    return model


def open_clip_tokenizer(source: OpenClipSource) -> Any:
    """The tokenizer of an open_clip model: of `transformers` where a folder holds one, else open_clip's byte pairs."""
    import open_clip.tokenizer

    text = source.shape["text_cfg"]
    kwargs = {"context_length": text.get("context_length", 77)} | (text.get("tokenizer_kwargs") or {})
    library: Any = open_clip.tokenizer
    with offline():
        if source.tokenizer is None:
            return library.SimpleTokenizer(**kwargs)
        guard = {"local_files_only": True, "trust_remote_code": False, "token": False}
        return library.HFTokenizer(str(source.tokenizer), tokenizer_mode=text.get("tokenizer_mode"), **kwargs, **guard)


def timm_model(name: str, weights: Path) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A model of timm without its classifier, with the weights of one file; mean and deviation of its pixels.

    Raises:
        ModelError: timm is not installed or has no such model, or the tensors are not its own; one line.
    """
    try:
        import timm
    except ImportError as error:
        raise ModelError(f"image tower timm:{name}: needs the package timm") from error
    library: Any = timm
    if name not in library.list_models():
        raise ModelError(f"image tower timm:{name}: timm {library.__version__} has no such model")
    with offline():
        model = library.create_model(name, pretrained=False)
    tensors = load_tensors([weights]) if weights.suffix == ".safetensors" else load_pickle(weights)
    own = model.state_dict()
    if tensors.keys() != own.keys() and [t.shape for t in tensors.values()] == [t.shape for t in own.values()]:
        tensors = dict(zip(own, tensors.values(), strict=True))  # another code's names in the same order
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{weights}: not the weights of timm:{name}") from error
    model.reset_classifier(0)
    settings = model.pretrained_cfg
    return model, tuple(settings["mean"]), tuple(settings["std"])


def _from_folder(kind: str, folder: Path, **settings: Any) -> Any:
    import transformers

    library: Any = transformers
    check_settings(folder)
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    try:
        with offline():
            # token=False: the library would send the user's token along with every request.
            return getattr(library, kind).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, token=False, **settings
            )
    except Exception as error:  # transformers raises bare ones of many kinds
        raise ModelError(f"{folder}: {_line(error)}") from error


def check_settings(folder: Path) -> None:
    """Make sure that no configuration of a folder makes a library load another model or a kernel of the hub.

    `auto_map`, which names the folder's own code, may stand: many published models have it beside a class that
    `transformers` knows, and no code is run either way.

    Raises:
        ModelError: one does; names the file and the setting.
    """
    if (folder / ADAPTER).is_file():
        raise ModelError(f"{folder}: a LoRA adapter is no model; merge it: `capfilt convert {folder} --to DIR`")
    for path in sorted(folder.glob("*config.json")):
        for name, value in leaves(read_object(path)):
            if (name in _NAMES_ANOTHER and value) or (name in _KERNELS and "/" in str(value)):
                raise ModelError(f"{path}: {name} = {str(value)[:80]!r}: a checkpoint may not load another")
            if name == "architecture" and re.match(r"[\w-]+:", str(value)):
                raise ModelError(f"{path}: {name} = {str(value)[:80]!r}: a checkpoint may not load another")


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}"
