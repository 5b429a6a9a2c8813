"""Run a hybrid command in bfloat16 on a CPU without bfloat16 units: `python results/bench/emulated_bf16.py reproduce --jobs 1`.

torch itself emulates bfloat16 there, and products take 20 to 200 times as long as in float32. This computes the slow operations
like the units do: products and sums of bfloat16 values in float32, results rounded to bfloat16. It takes little longer than
float32. The bf16 rows of results/demo/digits/expected.json come from it.
"""

import os
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from hybrid.cli import main

ATEN = torch.ops.aten
SLOW = {
    *(ATEN.convolution.default, ATEN.convolution_backward.default, ATEN.mm.default, ATEN.addmm.default),
    *(ATEN.bmm.default, ATEN.baddbmm.default, ATEN._scaled_dot_product_flash_attention_for_cpu.default),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default,
}


class Emulated(TorchDispatchMode):
    """Inside this context, `SLOW` operations of bfloat16 tensors compute in float32 and return bfloat16."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        widened = []

        def widen(tensor):
            widened.append(tensor.dtype == torch.bfloat16)
            return tensor.float() if widened[-1] else tensor

        if func not in SLOW:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(torch.Tensor, widen, (args, kwargs))
        found = func(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda tensor: tensor.bfloat16(), found) if any(widened) else found


if __name__ == "__main__":
    os.environ["HYBRID_PRECISION"] = "bf16"
    sys.argv[0] = "hybrid"
    with Emulated():
        sys.exit(main(sys.argv[1:]))
