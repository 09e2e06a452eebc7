"""One training step of visual question answering: a question, and its answers by how often each was given."""

import torch
from torch import Tensor

from capfilt.models.med.vqa import ANSWER_TOKENS, QUESTION_TOKENS, VQA, answer_losses
from capfilt.models.normalize import normalize
from capfilt.models.tokenizer import DEC, ENC, Tokenizer, clean_answer, clean_question
from capfilt.models.training.batch import QuestionBatch
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class VQATask(Task):
    """A VQA model with its objective: LM of the answers."""

    def __init__(self, model: VQA, tokenizer: Tokenizer, smoothing: float = 0.1, group: Group | None = None) -> None:
        super().__init__(group=group)
        self.model = model
        self.tokenizer = tokenizer
        self.smoothing = smoothing

    def forward(self, batch: QuestionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum over answers of weight x loss, a question; of this worker's part."""
        device = self.model.med.temperature.device
        part = self.group.part(len(batch.questions))
        answers = [(row, *answer) for row, own in enumerate(batch.answers[part]) for answer in own]
        asked = self.tokenizer.encode(batch.questions[part], ENC, QUESTION_TOKENS, clean_question)
        ids, mask = (tensor.to(device) for tensor in asked)
        states = self.model.encode_questions(normalize(batch.images.to(device), torch.float32), ids, mask)
        words, _ = self.tokenizer.encode([text for _, text, _ in answers], DEC, ANSWER_TOKENS + 2, clean_answer)
        owner = torch.tensor([row for row, _, _ in answers], device=device)
        weights = torch.tensor([weight for _, _, weight in answers], device=device)
        words = words.to(device)
        losses = answer_losses(self.model.answer_logits(words, states[owner], mask[owner]), words, self.smoothing)
        loss = (losses * weights).sum() / len(states)
        return loss, {"answer": loss.detach()}
