"""A linear layer that is fast on a CPU where few rows are read, as in every step of a decoder."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW: Final = {torch.float32: 48, torch.bfloat16: 512}
"""Rows up to which `linear` turns the operands round; found by trying, on a CPU with AVX-512 and AMX."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [..., in], weight [out, in], bias [out] -> [..., out].

    A CPU's matrix product rearranges its right-hand operand on every call. Of few rows and many weights the rows are
    the smaller one, so it computes (W x^T)^T there instead of x W^T: the same sums, up to 1.7 times faster.
    """
    rows = x.numel() // x.shape[-1]
    if x.device.type != "cpu" or not 1 < rows <= FEW.get(x.dtype, 0) or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    turned = torch.addmm(bias[:, None], weight, x.reshape(rows, -1).t())
    return turned.t().contiguous().view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return linear(x, self.weight, self.bias)
