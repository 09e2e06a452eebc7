"""Text to token ids and back: WordPiece as in BERT, with BLIP's two extra first tokens [DEC] and [ENC]."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from torch import Tensor

PAD, UNK, CLS, SEP, MASK, DEC, ENC = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")
# Known one by one, so that a word that the texts do not have is spelled and not lost.
CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
MAX_WORDS: Final = 30  # as BLIP's code cuts the texts that it pretrains on
MAX_CHARACTERS: Final = 8_000
"""Characters of its own that a tokenizer made from texts knows at most."""
MAX_CACHED_WORDS: Final = 200_000
"""Words whose pieces are remembered; then it starts empty again."""

_STRIPPED: Final = re.compile(r"[.!\"()*#:;~]")
_SPACES: Final = re.compile(r"\s+")


def clean_text(text: str, max_words: int = MAX_WORDS, lowercase: bool = True) -> str:
    """The paper's clean-up of a caption: lower case, `. ! " ( ) * # : ; ~` out, at most 30 words.

    Source: BLIP's caption preprocessing; the hyphen becomes a space there only in answers, so it stays here.
    """
    words = _SPACES.sub(" ", _STRIPPED.sub(" ", text.lower() if lowercase else text)).strip().split(" ")
    return " ".join(words[:max_words])


def clean_question(text: str, lowercase: bool = True) -> str:
    """A question, cleaned as a caption but up to 50 words long, as in BLIP's code."""
    return clean_text(text, 50, lowercase)


def clean_answer(text: str, lowercase: bool = True) -> str:
    """An answer as it is learned and ranked: all its marks stay ("10:30"), as in BLIP's code."""
    return _SPACES.sub(" ", text.lower() if lowercase else text).strip()


class Tokenizer:
    """Ids and masks for a MED. Padding stands on the right and has id 0."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        # On a fast GPU the host is what a chunk waits for, and captions repeat few words.
        self.piece_cache: dict[str, list[int]] = {}  # pieces of words seen before
        self.ids = {token: self._id(token) for token in (PAD, UNK, CLS, SEP, DEC, ENC)}
        if self.ids[PAD] != 0:
            raise ValueError("the tokenizer's [PAD] must have id 0")
        self.lowercase = bool(getattr(backend.normalizer, "lowercase", True))

    @classmethod
    def from_words(
        cls, texts: Iterable[str], min_count: int = 2, clean: Callable[..., str] = clean_text
    ) -> "Tokenizer":
        """A small tokenizer of the words that stand at least `min_count` times in texts, and of single characters.

        Characters of other writings than Latin count like words: those that are there are known, the commonest first.
        """
        normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
        counts: Counter[str] = Counter()
        for text in texts:
            tidied = normalizer.normalize_str(clean(text))
            counts.update(word for word, _ in splitter.pre_tokenize_str(tidied))
        words = sorted(word for word, count in counts.items() if count >= min_count and len(word) > 1)
        letters: Counter[str] = Counter()
        for word, count in counts.items():
            letters.update({letter: count for letter in set(word) - set(CHARACTERS)})
        others = sorted(letter for letter, count in letters.most_common(MAX_CHARACTERS) if count >= min_count)
        pieces = [*CHARACTERS, *(f"##{c}" for c in CHARACTERS), *others, *(f"##{c}" for c in others), *words]
        return cls.from_vocabulary([*SPECIALS, *dict.fromkeys(pieces)])

    @classmethod
    def from_vocabulary(cls, vocabulary: Sequence[str], normalizer: Any = None) -> "Tokenizer":
        """A WordPiece tokenizer of a vocabulary such as BERT's `vocab.txt`; [DEC] and [ENC] are added at its end.

        Args:
            normalizer: what is done to a text first; by default that of BERT's uncased tokenizer.
        """
        tokens = list(dict.fromkeys([*vocabulary, DEC, ENC]))
        backend = Backend(WordPiece({token: index for index, token in enumerate(tokens)}, unk_token=UNK))
        backend.normalizer = normalizer or normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        backend.add_special_tokens(list(SPECIALS))
        return cls(backend)

    @classmethod
    def from_backend(cls, backend: Backend) -> "Tokenizer":
        """A tokenizer that was read from a file. BERT's own lacks [DEC] and [ENC]; they follow as its next ids.

        Raises:
            ValueError: it is none of word pieces.
        """
        if not isinstance(backend.model, WordPiece):
            raise ValueError(f"a tokenizer of the kind {type(backend.model).__name__}, where WordPiece is supported")
        if backend.token_to_id(DEC) is None:
            words = backend.get_vocab()
            # In the order of their ids, by which the weights know them.
            return cls.from_vocabulary(sorted(words, key=words.__getitem__), backend.normalizer)
        return cls(backend)

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size())

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        self.backend.save(str(path))

    def encode(
        self, texts: Sequence[str], first: str, max_tokens: int, clean: Callable[..., str] = clean_text
    ) -> tuple[Tensor, Tensor]:
        """Texts -> ids int64 [M, T] and mask bool [M, T]: `first`, at most max_tokens - 2 pieces, [SEP], padding.

        A text is cleaned first. T is the longest of the texts, not max_tokens.
        """
        start, stop = self.ids[first], self.ids[SEP]
        rows = [[start, *pieces[: max_tokens - 2], stop] for pieces in self._pieces(texts, clean)]
        length = max((len(row) for row in rows), default=2)
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], dtype=torch.int64).view(-1, length)
        return ids, ids != 0

    def prompt(self, text: str) -> list[int]:
        """Ids of a prompt: [DEC] and its pieces, no [SEP] (what a decoder continues from)."""
        return [self.ids[DEC], *self._pieces([text])[0]]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text without special tokens."""
        return self.decode_all([list(ids)])[0]

    def decode_all(self, rows: Sequence[list[int]]) -> list[str]:
        """Ids of many texts -> texts without special tokens."""
        return [text.strip() for text in self.backend.decode_batch(rows, skip_special_tokens=True)]

    def _pieces(self, texts: Sequence[str], clean: Callable[..., str] = clean_text) -> list[list[int]]:
        """Ids of texts without special tokens, word by word: no piece reaches over a space, and most words come again.

        Of 11 texts an image it takes a twentieth of the time, in which a fast device would wait.
        """
        told = [clean(text, lowercase=self.lowercase).split(" ") for text in texts]
        if new := {word for words in told for word in words} - self.piece_cache.keys():
            if len(self.piece_cache) + len(new) > MAX_CACHED_WORDS:
                self.piece_cache.clear()
                new = {word for words in told for word in words}
            order = sorted(new)
            found = self.backend.encode_batch(order, add_special_tokens=False)
            self.piece_cache |= {word: one.ids for word, one in zip(order, found, strict=True)}
        return [[piece for word in words for piece in self.piece_cache[word]] for words in told]

    def is_cut(self, text: str, max_tokens: int) -> bool:
        """Whether `encode` leaves words of a text out: beyond 30 words, or beyond so many tokens."""
        words = clean_text(text, MAX_CHARACTERS, self.lowercase).split(" ")
        return len(words) > MAX_WORDS or len(self._pieces([text])[0]) > max_tokens - 2

    def unknown_share(self, texts: Iterable[str]) -> float:
        """Share of the pieces of texts that are [UNK]."""
        pieces = [piece for own in self._pieces(list(texts)) for piece in own]
        return pieces.count(self.ids[UNK]) / max(1, len(pieces))

    def _id(self, token: str) -> int:
        found = self.backend.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token}")
        return int(found)
