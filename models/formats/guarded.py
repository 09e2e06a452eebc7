"""The one door to libraries that load models. A checkpoint is data: its files choose neither code nor a host.

No library reads a folder's own keyword arguments: they are checked first and handed on. While a library works, the
hub's client is offline.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import huggingface_hub
import open_clip

from capfilt.models.formats.open_clip_source import OpenClipSource

_OFFLINE = threading.Lock()


@contextmanager
def offline() -> Iterator[None]:
    """No request by the hub's client, which transformers, timm and open_clip share; for all threads meanwhile."""
    constants: Any = huggingface_hub.constants
    with _OFFLINE:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def open_clip_model(source: OpenClipSource) -> Any:
    """An open_clip model with the weights of one safetensors file."""
    library: Any = open_clip
    shape = {name: value for name, value in source.shape.items() if name != "custom_text"}
    shape["vision_cfg"] = shape["vision_cfg"] | {"timm_model_pretrained": False}
    shape["text_cfg"] = shape["text_cfg"] | {"hf_model_pretrained": False}
    own_text = source.shape.get("custom_text") or "hf_model_name" in shape["text_cfg"]
    kind = library.CoCa if "multimodal_cfg" in shape else library.CustomTextCLIP if own_text else library.CLIP
    with offline():
        model = kind(**shape)
        library.load_checkpoint(model, str(source.weights), weights_only=True)
    return model


def open_clip_tokenizer(source: OpenClipSource) -> Any:
    """The tokenizer of an open_clip model: of `transformers` where a folder holds one, else open_clip's byte pairs."""
    text = source.shape["text_cfg"]
    kwargs = {"context_length": text.get("context_length", 77)} | (text.get("tokenizer_kwargs") or {})
    library: Any = open_clip.tokenizer
    with offline():
        if source.tokenizer is None:
            return library.SimpleTokenizer(**kwargs)
        guard = {"local_files_only": True, "trust_remote_code": False}
        return library.HFTokenizer(str(source.tokenizer), tokenizer_mode=text.get("tokenizer_mode"), **kwargs, **guard)
