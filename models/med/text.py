"""The text side: one BERT-shaped transformer read three ways.

| reading | self-attention | cross-attention | first token |
|---|---|---|---|
| text encoder | `encoder`, bidirectional | none | [CLS] |
| image-grounded encoder | `encoder`, bidirectional | to the image | [ENC] |
| image-grounded decoder | `decoder`, causal | to the image | [DEC] |

Only self-attention (its layer norm included) exists twice; embeddings, cross-attention and FFN are shared (BLIP,
section 3.1 and Table 3).

Dimensions: B images, n texts an image, T tokens, D width, H heads, d = D / H, N image tokens, V vocabulary.

The n texts of one image lie side by side on the query axis of that image's cross-attention: its keys and values are
projected once an image, and neither copied nor read again n times.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.cache import FixedCache, KeysValues, SelfCache, added
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.linear import Linear
from capfilt.models.med.ragged import Ragged, Seats

Reading = Literal["encoder", "decoder"]


class Attention(nn.Module):
    """Attention with its output projection and post-norm residual."""

    def __init__(self, width: int, heads: int, source_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(source_width, width)
        self.value = Linear(source_width, width)
        self.out = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = 0.0  # in training, of weights and output

    def split(self, x: Tensor) -> Tensor:
        """[rows, length, D] -> [rows, H, length, d]."""
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def project(self, source: Tensor) -> KeysValues:
        """Keys and values of a source [rows, length, source width]."""
        return KeysValues(self.split(self.key(source)), self.split(self.value(source)))

    def forward(self, x: Tensor, kv: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attend from x [rows, length, D]; rows of x and of kv are the same."""
        return self.project_out(self.attend(self.query(x), kv, mask, causal), x)

    def attend(self, query: Tensor, kv: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """What projected queries [rows, length, D] find in keys and values, the heads side by side."""
        dropped = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(
            self.split(query), *kv, attn_mask=mask, is_causal=causal, dropout_p=dropped
        )
        return seen.transpose(1, 2).reshape(query.shape)

    def project_out(self, seen: Tensor, x: Tensor) -> Tensor:
        """Output projection, residual and norm."""
        out: Tensor = self.norm(F.dropout(self.out(seen), self.dropout, self.training) + x)
        return out


class TextLayer(nn.Module):
    """Self-attention (one of two), cross-attention when there is an image, FFN."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__()
        width, heads = config.text_width, config.text_heads
        self.encoder = Attention(width, heads, width)
        self.decoder = Attention(width, heads, width)
        self.cross = Attention(width, heads, config.vision_width)
        self.fc1 = Linear(width, config.text_ffn)
        self.fc2 = Linear(config.text_ffn, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = 0.0  # in training, of the output

    def cross_attend(self, x: Tensor, image: KeysValues, seats: Seats | None = None) -> Tensor:
        """x [B * n, T, D] looks at B images: the n texts of an image share its keys and values.

        With `seats` it is [R, 1, D], and they say who looks at what.
        """
        if seats:
            return self.cross.project_out(seats.flat(self.cross.attend(seats.pad(self.cross.query(x)), image)), x)
        images = image.keys.shape[0]
        # Texts side by side on the query axis: the keys and values of an image are read once, not once a text.
        out: Tensor = self.cross(x.reshape(images, -1, x.shape[-1]), image).view(x.shape)
        return out

    def feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(F.dropout(self.fc2(self.fc1.gelu(x)), self.dropout, self.training) + x)
        return out


class TextTransformer(nn.Module):
    """Token ids to states, in the reading that is asked for."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocab_size, config.text_width, padding_idx=0)
        self.position = nn.Embedding(config.max_positions, config.text_width)
        self.norm = nn.LayerNorm(config.text_width, eps=1e-12)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.text_layers))
        self.dropout = 0.0  # in training, of the embeddings

    def project_image_kv(self, image_states: Tensor) -> list[KeysValues]:
        """Cross-attention keys and values of B images [B, N, vision width], once, for every later text and step.

        They are laid out head by head, for every one of those reads them from end to end.
        """
        # contiguous(): `split` leaves heads interleaved, and every later step would read them in strides.
        found = (layer.cross.project(image_states) for layer in self._layers())
        return [KeysValues(kv.keys.contiguous(), kv.values.contiguous()) for kv in found]

    def encode(self, ids: Tensor, mask: Tensor, image: list[KeysValues] | None = None) -> Tensor:
        """Bidirectional reading of ids [B * n, T] (mask: True where a token is) -> states [B * n, T, D]."""
        x = self.embed(ids)
        seen = added(mask, x)[:, None, None, :]
        for index, layer in enumerate(self._layers()):
            x = layer.encoder(x, layer.encoder.project(x), seen)
            x = layer.feed_forward(layer.cross_attend(x, image[index]) if image else x)
        return x

    def encode_first(self, ids: Tensor, mask: Tensor, image: list[KeysValues] | None = None) -> Tensor:
        """The first state of each text, [B * n, D]: what `encode(...)[:, 0]` is, at less cost.

        Padding (on the right) is not computed with, and in the last layer only the first tokens ask.
        """
        texts = asking = Ragged.of(mask)
        # The texts of an image are packed together, not one by one: they share its keys and values on the query axis.
        images = Ragged.of(mask.view(image[0].keys.shape[0], -1)) if image else None
        seen, first = mask[:, None, None, : texts.longest], texts.firsts()
        x: Tensor = self.norm(self.word(ids[mask]) + self.position(texts.place))
        for index, layer in enumerate(self._layers()):
            own = layer.encoder
            kv = KeysValues(own.split(texts.pad(own.key(x))), own.split(texts.pad(own.value(x))))
            # Only the first state is asked for: in the last layer the other tokens give keys and values and no more.
            if index + 1 == len(self.layers):
                x, asking = x[first], Ragged.of(mask[:, :1])
                images = Ragged.of(mask[:, :1].reshape(image[0].keys.shape[0], -1)) if image else None
            x = own.project_out(asking.flat(own.attend(asking.pad(own.query(x)), kv, seen)), x)
            if image and images:
                found = layer.cross.attend(images.pad(layer.cross.query(x)), image[index])
                x = layer.cross.project_out(images.flat(found), x)
            x = layer.feed_forward(x)
        return x

    def decode(
        self, ids: Tensor, image: list[KeysValues], cache: SelfCache | None = None, seats: Seats | None = None
    ) -> Tensor:
        """Causal reading of ids [B * n, T], after the tokens in `cache` if there is one -> states [B * n, T, D].

        Padding stands on the right, where no earlier token can see it, so no mask is needed. With `seats` the rows are
        captions of any images, in any order, and T is 1.
        """
        x = self.embed(ids, cache.places(ids.shape[1]) if cache else None)
        seen = cache.seen() if cache else None
        for index, layer in enumerate(self._layers()):
            kv = layer.decoder.project(x)
            kv = cache.extend(index, *kv) if cache else kv
            # One token sees all before it, so no mask; with is_causal, SDPA would align one query with the first key.
            x = layer.decoder(x, kv, seen, causal=ids.shape[1] > 1)
            x = layer.feed_forward(layer.cross_attend(x, image[index], seats))
        if cache:
            cache.advance(ids.shape[1])
        return x

    def embed(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """Words and their places, int64 [T] or [B, T], by default from 0 on."""
        places = torch.arange(ids.shape[1], device=ids.device) if places is None else places
        out: Tensor = self.norm(self.word(ids) + self.position(places))
        return F.dropout(out, self.dropout, self.training)

    def start_encoder_from_decoder(self) -> None:
        """Give the encoder's self-attention the decoder's weights: of a captioner only the latter were trained."""
        for layer in self._layers():
            layer.encoder.load_state_dict(layer.decoder.state_dict())

    def new_cache(self, rows: int, length: int) -> SelfCache:
        """Room for `length` tokens of `rows` captions."""
        return SelfCache(*self._room(rows, length))

    def new_fixed_cache(self, rows: int, length: int) -> FixedCache:
        """The same, for steps that are recorded."""
        return FixedCache(*self._room(rows, length))

    def _room(self, rows: int, length: int) -> tuple[int, int, int, int, int, Tensor]:
        config = self.config
        width = config.text_width // config.text_heads
        return config.text_layers, rows, config.text_heads, length, width, self.word.weight

    def decoder_step_layers(self) -> list[nn.Module]:
        """What every step of a caption goes through: all but the encoder and what looks at the image once."""
        once = {layer.cross.key for layer in self._layers()} | {layer.cross.value for layer in self._layers()}
        encoders = {part for layer in self._layers() for part in layer.encoder.modules()}
        return [module for module in self.modules() if isinstance(module, Linear) and module not in once | encoders]

    def _layers(self) -> list[TextLayer]:
        return [layer for layer in self.layers if isinstance(layer, TextLayer)]
