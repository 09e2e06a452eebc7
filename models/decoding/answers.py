"""Answers of a VQA model: searched by beams, or ranked in a list (BLIP, section 5.4).

Dimensions: B questions, Q question tokens, M answers in all, T answer tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from capfilt.models.decoding.beam import Search, beam_search
from capfilt.models.med.vqa import ANSWER_TOKENS, QUESTION_TOKENS, VQA, answer_losses
from capfilt.models.normalize import normalize
from capfilt.models.tokenizer import DEC, ENC, SEP, Tokenizer, clean_answer, clean_question

BEAMS: Final = 3  # as in BLIP's code
SMOOTHING: Final = 0.1
"""Label smoothing of BLIP's loss, by which answers of a list are ranked too."""
RANKED: Final = 128
"""Answers of a list that are read to their end, as in BLIP's code; those whose first token is less likely are not."""


def search_answers(
    model: VQA, states: Tensor, mask: Tensor, tokens: Mapping[str, int], beams: int = BEAMS
) -> list[list[int]]:
    """Ids of the best answer to each question that `beams` beams find; padded with 0.

    Lengths are those of BLIP's code: 10 tokens, [DEC] included.

    Args:
        states, mask: questions as they were read, [B, Q, D] and bool [B, Q].
        tokens: ids of [DEC] and [SEP].
    """
    how = Search(beams=beams, max_tokens=ANSWER_TOKENS - 1, min_tokens=1)
    lengths, found = mask.sum(1), torch.zeros(len(mask), how.max_tokens, dtype=torch.int64)
    # Questions of one length at a time: the search knows no mask of what it looks at.
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        seen = model.answer.project_image_kv(states[rows, :length])
        ids, _ = beam_search(model, seen, [tokens[DEC]], tokens[SEP], how)
        found[rows.cpu()] = ids[:, 0].cpu()
    rows_found: list[list[int]] = found.tolist()
    return rows_found


class Answerer:
    """A VQA model as one uses it."""

    def __init__(self, model: VQA, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    @torch.inference_mode()
    def rank(self, images: Tensor, questions: Sequence[str], answers: Sequence[str], most: int = RANKED) -> list[str]:
        """The likeliest of some answers to each question.

        As in BLIP's code: the `most` answers with the likeliest first token are read to their end, and their losses
        are smoothed as in training.

        Args:
            images: uint8 [B, S, S, 3].
        """
        states, mask = self._read(images, questions)
        ids, _ = self._encode(answers, DEC, ANSWER_TOKENS + 2, clean_answer)
        start = ids[:1, :1].expand(len(states), -1)
        first = self.model.answer_logits(start, states, mask)[:, 0].log_softmax(-1)[:, ids[:, 1]]
        likely = first.topk(min(most, len(ids)), dim=1).indices
        owner = torch.arange(len(states), device=states.device).repeat_interleave(likely.shape[1])
        chosen = ids[likely.flatten()]
        logits = self.model.answer_logits(chosen, states[owner], mask[owner])
        losses = answer_losses(logits, chosen, SMOOTHING).view(likely.shape)
        best = likely.gather(1, losses.argmin(1, keepdim=True))[:, 0]
        return [answers[number] for number in best.tolist()]

    @torch.inference_mode()
    def generate(self, images: Tensor, questions: Sequence[str], beams: int = BEAMS) -> list[str]:
        """The best answer to each question that `beams` beams find; one beam takes the likeliest token at a time.

        Lengths are BLIP's: 10 tokens with [DEC].
        """
        found = search_answers(self.model, *self._read(images, questions), self.tokenizer.ids, beams)
        return [self.tokenizer.decode(row) for row in found]

    def _read(self, images: Tensor, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
        weight = self.model.med.vision.norm.weight
        ids, mask = self._encode(questions, ENC, QUESTION_TOKENS, clean_question)
        return self.model.encode_questions(normalize(images.to(weight.device), weight.dtype), ids, mask), mask

    def _encode(self, texts: Sequence[str], first: str, most: int, clean: Callable[..., str]) -> tuple[Tensor, Tensor]:
        ids, mask = self.tokenizer.encode(texts, first, most, clean)
        device = self.model.med.temperature.device
        return ids.to(device), mask.to(device)
