"""The loss of a language model that goes on behind images.

Dimensions: R rows, T tokens, V vocabulary.
"""

from torch import Tensor
from torch.nn import functional as F

from capfilt.models.systems.parts.language_info import IGNORED
from capfilt.models.training.group import Group


def lm_loss(logits: Tensor, labels: Tensor, learned: int, group: Group) -> Tensor:
    """The cross-entropy of this worker's rows, a learned token of all workers.

    Args:
        logits: [R, T, V]; those of a token tell the next one.
        labels: int64 [R, T], `IGNORED` where nothing is learned.
        learned: tokens that all workers learn in this step, which all know.
    """
    loss = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss * group.size / learned
