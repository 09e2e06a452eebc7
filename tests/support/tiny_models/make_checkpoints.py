"""Write checkpoints of random weights, by the libraries that publish such models.

`python tests/support/tiny_models/make_checkpoints.py DIR`

Nothing here says a sensible word. They are for trying what a run does with models of other people where no hub can be
reached: `transformers` and `open_clip` make the models and save them, as they save the published ones.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch

Size = Literal["tiny", "base"]

SENTENCES: Final = (
    "a dog runs on the grass",
    "two people sit at a table",
    "a red bus stands on the street",
    "a cat sleeps on a bed near a window",
    "describe this image in one sentence",
)
CHAT: Final = (
    "{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SIDE: Final = {"tiny": 32, "base": 384}
VOCABULARIES: Final = Path(__file__).resolve().parents[4] / "shared" / "data" / "vocab"


def blip_captioner(folder: Path, size: Size) -> None:
    _blip("BlipForConditionalGeneration", folder, size)


def blip_filter(folder: Path, size: Size) -> None:
    _blip("BlipForImageTextRetrieval", folder, size)


def blip_that_repeats(folder: Path, size: Size) -> None:
    """What a BLIP that was only pretrained does as a captioner: one word over and over."""
    _blip("BlipForConditionalGeneration", folder, size, word="dai")


def blip2_captioner(folder: Path, size: Size) -> None:
    import transformers as tf

    tokenizer = _tokenizer("<image>")
    config = tf.Blip2Config(
        vision_config=_vision(SIDE["tiny"]),
        qformer_config=_qformer(len(tokenizer)),
        text_config=_opt(len(tokenizer)),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    tf.Blip2ForConditionalGeneration(config).save_pretrained(folder)
    tf.Blip2Processor(_squash(SIDE["tiny"]), tokenizer, num_query_tokens=4).save_pretrained(folder)


def blip2_filter(folder: Path, size: Size) -> None:
    import transformers as tf

    words = _bert_words()
    qformer = _qformer(len(words)) | {"use_qformer_text_input": True}
    config = tf.Blip2Config(
        vision_config=_vision(SIDE["tiny"]),
        qformer_config=qformer,
        text_config=_opt(100),
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    tf.Blip2ForImageTextRetrieval(config).apply(_stir).save_pretrained(folder)
    tf.Blip2Processor(_squash(SIDE["tiny"]), _bert_tokenizer(folder)).save_pretrained(folder)


def instructblip(folder: Path, size: Size) -> None:
    import transformers as tf

    tokenizer, words = _tokenizer("<image>"), _bert_words()
    config = tf.InstructBlipConfig(
        vision_config=_vision(SIDE["tiny"]),
        qformer_config=_qformer(len(words)),
        text_config=_opt(len(tokenizer)),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    tf.InstructBlipForConditionalGeneration(config).apply(_stir).save_pretrained(folder)
    bert = _bert_tokenizer(folder)
    tf.InstructBlipProcessor(_squash(SIDE["tiny"]), tokenizer, bert, num_query_tokens=4).save_pretrained(folder)


def llava(folder: Path, size: Size) -> None:
    _llava(folder, "Llava", "CLIP", {})


def llava_next(folder: Path, size: Size) -> None:
    """The one that cuts a picture into tiles, by its shape."""
    side = SIDE["tiny"]
    tiles = {"image_grid_pinpoints": [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]}
    _llava(folder, "LlavaNext", "LlavaNext", tiles)


def _llava(folder: Path, kind: str, images: str, tiles: dict[str, Any]) -> None:
    import transformers as tf

    tokenizer, side = _tokenizer("<image>"), SIDE["tiny"]
    config = getattr(tf, f"{kind}Config")(
        vision_config=tf.CLIPVisionConfig(**_vision(side), projection_dim=16),
        text_config=tf.LlamaConfig(**_decoder(len(tokenizer))),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // 8) ** 2,
        **tiles,
    )
    getattr(tf, f"{kind}ForConditionalGeneration")(config).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = getattr(tf, f"{images}ImageProcessor")(**sizes, **tiles)
    chat = CHAT.replace("IMAGE", "<image>\n")
    strategy = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    getattr(tf, f"{kind}Processor")(processor, tokenizer, chat_template=chat, **strategy).save_pretrained(folder)


def qwen2_vl(folder: Path, size: Size) -> None:
    """The family that takes pictures of any shape."""
    import transformers as tf

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = _tokenizer(*marks)
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(list(marks)), strict=True))
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    config = tf.Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 8, "mlp_ratio": 2},
        text_config=_decoder(len(tokenizer)) | {"rope_parameters": rope, "max_position_embeddings": 512},
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        tie_word_embeddings=False,
    )
    tf.Qwen2VLForConditionalGeneration(config).apply(_stir).save_pretrained(folder)
    pixels = {"min_pixels": 16 * 16, "max_pixels": 64 * 64, "patch_size": 8}
    chat = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = tf.Qwen2VLProcessor(
        tf.Qwen2VLImageProcessor(**pixels), tokenizer, tf.Qwen2VLVideoProcessor(**pixels), chat_template=chat
    )
    processor.save_pretrained(folder)


def clip(folder: Path, size: Size) -> None:
    """CLIP as open_clip saves it: `open_clip_config.json` and `open_clip_model.safetensors`."""
    import open_clip

    side, width = (224, 768) if size == "base" else (32, 32)
    shape = {"layers": 12, "width": width, "patch_size": 32} if size == "base" else {}
    vision = {"image_size": side, "layers": 2, "width": width, "head_width": 8, "patch_size": 8} | shape
    if size == "base":
        vision["head_width"] = 64
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}
    if size == "base":
        text |= {"width": 512, "heads": 8, "layers": 12}
    _save_open_clip(folder, {"embed_dim": 512 if size == "base" else 24, "vision_cfg": vision, "text_cfg": text})
    assert open_clip.get_model_config(f"local-dir:{folder}")


def siglip(folder: Path, size: Size) -> None:
    """SigLIP as open_clip saves it: a tower of timm, a sigmoid's bias, and a tokenizer of `transformers` beside it."""
    tokenizer = _tokenizer(form="$A </s>")
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"}
    text = {
        "context_length": 24,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "a/hub-that-is-not-asked",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 4,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    model = {"embed_dim": 64, "init_logit_bias": -10, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    _save_open_clip(folder, model, half)
    tokenizer.save_pretrained(folder)


def clip_with_a_text_tower_of_the_hub(folder: Path, size: Size) -> None:
    """As LAION's of RoBERTa: beside it, in `tower`, what `hf_model_name` stands for."""
    import transformers as tf

    tokenizer, tower = _tokenizer(form="<s> $A </s>"), folder / "tower"
    own = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tf.RobertaConfig(**own, intermediate_size=64, max_position_embeddings=130, pad_token_id=0).save_pretrained(tower)
    tokenizer.save_pretrained(tower)
    vision = {"image_size": SIDE["tiny"], "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": "roberta-base", "hf_pooler_type": "mean_pooler"}
    model = {"embed_dim": 24, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    _save_open_clip(folder, model | {"text_cfg": text | {"hf_model_pretrained": False, "hf_proj_type": "mlp"}})
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text(encoding="utf-8").replace(str(tower), "roberta-base"), encoding="utf-8")


def clip_of_transformers(folder: Path, size: Size) -> None:
    import transformers as tf

    tokenizer, side = _tokenizer(form="<s> $A </s>"), SIDE["tiny"]
    text = _decoder(len(tokenizer)) | {"max_position_embeddings": 24, "projection_dim": 24}
    config = tf.CLIPConfig(text_config=text, vision_config=_vision(side) | {"projection_dim": 24}, projection_dim=24)
    tf.CLIPModel(config).apply(_stir).save_pretrained(folder)
    images = tf.CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    tokenizer.model_max_length = 24
    tf.CLIPProcessor(images, tokenizer).save_pretrained(folder)


def siglip_of_transformers(folder: Path, size: Size) -> None:
    import transformers as tf

    tokenizer, side = _tokenizer(form="$A </s>"), SIDE["tiny"]
    text = _decoder(len(tokenizer)) | {"max_position_embeddings": 24, "projection_size": 32}
    config = tf.SiglipConfig(text_config=text, vision_config=_vision(side))
    tf.SiglipModel(config).apply(_stir).save_pretrained(folder)
    tokenizer.model_max_length = 24
    images = tf.SiglipImageProcessor(size={"height": side, "width": side})
    tf.SiglipProcessor(images, tokenizer).save_pretrained(folder)


def vit_gpt2(folder: Path, size: Size) -> None:
    """An encoder and a decoder in one, with no processor but its parts."""
    import transformers as tf

    tokenizer, side = _tokenizer(), SIDE["tiny"]
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
    decoder = tf.GPT2Config(vocab_size=len(tokenizer), add_cross_attention=True, is_decoder=True, **shape)
    config = tf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(tf.ViTConfig(**_vision(side)), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    tf.VisionEncoderDecoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tf.ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


def language(folder: Path, size: Size) -> None:
    """A causal language model, for stage 2 of a Q-Former."""
    import transformers as tf

    tokenizer = _tokenizer()
    tf.OPTForCausalLM(
        tf.OPTConfig(**{key: v for key, v in _opt(len(tokenizer)).items() if key != "model_type"})
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MAKERS: Final[dict[str, Callable[[Path, Size], None]]] = {
    "blip": blip_captioner,
    "blip-itm": blip_filter,
    "blip-dai-dai": blip_that_repeats,
    "blip2": blip2_captioner,
    "blip2-itm": blip2_filter,
    "instructblip": instructblip,
    "llava": llava,
    "llava-next": llava_next,
    "qwen2-vl": qwen2_vl,
    "clip": clip,
    "siglip": siglip,
    "clip-text-tower": clip_with_a_text_tower_of_the_hub,
    "clip-transformers": clip_of_transformers,
    "siglip-transformers": siglip_of_transformers,
    "language": language,
    "vit-gpt2": vit_gpt2,
}


def make(name: str, folder: Path, size: Size = "tiny") -> None:
    """Write the checkpoint `name` into `folder`; the same weights every time."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    MAKERS[name](folder, size)


def _blip(kind: str, folder: Path, size: Size, word: str = "") -> None:
    import transformers as tf

    words = _bert_words()
    tiny = _vision(SIDE["tiny"]) | {"intermediate_size": 128}
    shape = {"initializer_range": 0.02, "image_size": 384} if size == "base" else tiny
    own = {} if size == "base" else {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3}
    text = own | {
        "vocab_size": len(words) + 2,
        "num_attention_heads": 12 if size == "base" else 4,
        "encoder_hidden_size": 768 if size == "base" else 32,
        "bos_token_id": len(words),
        "sep_token_id": 102 if len(words) > 1000 else 3,
        "pad_token_id": 0,
        "initializer_range": 0.02 if size == "base" else 0.2,
    }
    config = tf.BlipConfig(vision_config=shape, text_config=text, image_text_hidden_size=256 if size == "base" else 24)
    model = getattr(tf, kind)(config)
    if word:
        with torch.no_grad():
            model.text_decoder.cls.predictions.bias[words.index(word)] += 1000
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def _save_open_clip(folder: Path, model: dict[str, Any], pixels: dict[str, Any] | None = None) -> None:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    kind = open_clip.CustomTextCLIP if model.get("custom_text") else open_clip.CLIP
    shape = {key: value for key, value in model.items() if key != "custom_text"}
    made = kind(**shape)
    for parameter in made.parameters():  # so that pictures and texts make a difference
        parameter.data.mul_(3 if parameter.ndim > 1 and model["embed_dim"] < 100 else 1)
    weights = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    mean = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    described = {"model_cfg": model, "preprocess_cfg": pixels or mean}
    (folder / "open_clip_config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


def _vision(side: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": side,
        "patch_size": 8,
        "initializer_range": 0.3,
    }


def _decoder(words: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _qformer(words: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "encoder_hidden_size": 32,
        "vocab_size": words,
        "max_position_embeddings": 64,
        "cross_attention_frequency": 2,
        "initializer_range": 0.3,
    }


def _opt(words: int) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "vocab_size": words,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "init_std": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _stir(module: torch.nn.Module) -> None:
    """Weights large enough that the picture and the text make a difference; some classes start from almost nothing."""
    if isinstance(module, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv2d | torch.nn.Conv3d):
        torch.nn.init.normal_(module.weight, std=0.3)
    for name, parameter in module.named_parameters(recurse=False):
        if name == "query_tokens":
            torch.nn.init.normal_(parameter)


def _tokenizer(*marks: str, form: str = "") -> Any:
    """A byte-level tokenizer with the words of `SENTENCES`; every text can be written in it.

    Args:
        form: what stands around a text, such as "<s> $A </s>".
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>", *marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    if form:
        backend.post_processor = processors.TemplateProcessing(
            single=form, special_tokens=[(mark, backend.token_to_id(mark)) for mark in ("<s>", "</s>")]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _bert_words() -> list[str]:
    """BERT's vocabulary where it lies beside this checkout, else a small one of its form."""
    path = VOCABULARIES / "bert-base-uncased-vocab.txt"
    if path.is_file():
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, "dai", *words, *letters, *(f"##{letter}" for letter in letters)]))


def _bert_tokenizer(folder: Path) -> Any:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("\n".join(_bert_words()) + "\n", encoding="utf-8")
    return tf.BertTokenizerFast(vocab=str(path))


def _squash(side: int) -> Any:
    import transformers as tf

    return tf.BlipImageProcessor(size={"height": side, "width": side})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=["tiny", "base"], default="tiny", help="base: blip, blip-itm and clip only")
    parser.add_argument("--only", nargs="+", choices=list(MAKERS), default=list(MAKERS), metavar="NAME")
    chosen = parser.parse_args(arguments)
    for name in chosen.only:
        make(name, chosen.folder / name, chosen.size)
        print(chosen.folder / name)
    if {"blip", "blip-itm", "clip"} <= set(chosen.only):
        judges = ", ".join(f'"{chosen.folder / name}"' for name in ("blip-itm", "clip"))
        models = f"--set caption.captioner={chosen.folder / 'blip'} --set 'score.judges=[{judges}]'"
        print(f"\ntry: capfilt run PICTURES --out OUT --recipe blip2 {models}")


if __name__ == "__main__":
    main()
