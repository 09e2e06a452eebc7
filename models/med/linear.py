"""A linear layer that is fast on a CPU where few rows are read, as in every step of a decoder."""

import platform
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW: Final = {torch.float32: 48, torch.bfloat16: 512}
"""Rows up to which `linear` turns the operands round; found by trying, on a CPU with AVX-512 and AMX."""
TURNS: Final = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
"""Whether it turns them at all: with AVX2 alone that is up to 1.5 times slower."""
ROWS: Final = 80
"""Rows that `packed` weights are laid out for; by trying, that layout is as good for fewer and for many more."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [..., in], weight [out, in], bias [out] -> [..., out].

    A CPU's matrix product rearranges its right-hand operand on every call. Of few rows and many weights the rows are
    the smaller one, so it computes (W x^T)^T there instead of x W^T: the same sums, up to 1.7 times faster.
    """
    rows = x.numel() // x.shape[-1]
    few = 1 < rows <= FEW.get(x.dtype, 0)
    if x.device.type != "cpu" or not (TURNS and few) or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    turned = torch.addmm(bias[:, None], weight, x.reshape(rows, -1).t())
    return turned.t().contiguous().view(*x.shape[:-1], -1)


# Private operators, but measured: in bfloat16 the image tower ran 1.5 times and ten captions 1.4 times as fast; in
# float32 ten captions of one image 1.8 times, on AVX2.
def packed(weight: Tensor, few: bool = False) -> Tensor | None:
    """A weight [out, in] rearranged once and for all, for `packed_linear`; None where that brings nothing.

    On a CPU products are up to 2 times as fast with it: in bfloat16 all of them, in float32 those of `few` rows. Of
    many, as in the image tower, those lose 10 %.
    """
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return None
    if weight.dtype == torch.bfloat16:
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        able = few and weight.dtype == torch.float32 and platform.machine() in ("x86_64", "AMD64")
    # Private operators of torch: torch.compile uses them, and there is no public way to the packed layout.
    rearranged: Tensor | None = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if able else None
    return rearranged


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor, then: str = "none") -> Tensor:
    """`linear` with a weight from `packed`; then "none" or "gelu"."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none" if then == "gelu" else "")
    return out


class Linear(nn.Linear):
    """`nn.Linear` through `linear`, or through `packed_linear` once it is packed."""

    packed: Tensor | None = None

    def pack(self, few: bool = False) -> None:
        """For inference alone: keep the weight in the layout it is computed with, and in no other."""
        self.packed = packed(self.weight.detach(), few)
        if self.packed is not None:
            # Not kept twice: the plain layout goes, and using it by mistake is an error, not a wrong number.
            self.weight = nn.Parameter(torch.empty_like(self.weight, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias)
        return linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """[..., in] -> gelu of [..., out]."""
        return F.gelu(self(x)) if self.packed is None else packed_linear(x, self.packed, self.bias, "gelu")
