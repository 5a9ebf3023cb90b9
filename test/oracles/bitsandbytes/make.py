"""Writes nf4.safetensors: what bitsandbytes makes of matrices that a rule gives. See README.md."""
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import save_file

SHAPES = {"blocks": (257, 64), "odd": (7, 45)}


def matrix(rows: int, columns: int) -> torch.Tensor:
    """Sums of four numbers of a linear congruential generator, of a size that changes every 97 elements."""
    state, values = 1, []
    for i in range(rows * columns):
        total = 0
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += state >> 8
        values.append((total - 2**25) / 2**30 / 2 ** (i // 97 % 4))
    return torch.tensor(values, dtype=torch.float64).float().reshape(rows, columns)


tensors = {}
for name, shape in SHAPES.items():
    codes, state = quantize_4bit(matrix(*shape), blocksize=64, quant_type="nf4", compress_statistics=True)
    values = dequantize_4bit(codes, state).reshape(-1)
    tensors |= {
        f"{name}.codes": codes.reshape(-1),
        f"{name}.absmax": state.absmax,
        f"{name}.absmax_scales": state.state2.absmax,
        f"{name}.absmax_offset": state.offset.reshape(1),
        f"{name}.first_values": values[:256].clone(),
        "map": state.state2.code.float(),
        "table": state.code.float(),
    }
save_file(tensors, "nf4.safetensors")
