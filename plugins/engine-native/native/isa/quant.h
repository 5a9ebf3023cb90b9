// Kernels of weights in fewer bits: from float32, and back into strips and panels of products.
#pragma once
#include <cstdint>

namespace graft {

// A matrix in nf4 (Dettmers et al. 2023, QLoRA), flattened row by row and cut into blocks of 64:
// element i = kNf4Values[code i] * absmax of block i / 64, absmax of block b = map[absmax[b]] * absmaxScales[b / 256] + absmaxOffset.
struct Nf4 {
  // Two a byte, the first in the high four bits.
  const uint8_t* codes;
  const uint8_t* absmax;
  const float* absmaxScales;
  float absmaxOffset;
  // [256]
  const float* map;
};

constexpr int kNf4Block = 64;
constexpr int kNf4AbsmaxBlock = 256;
// Quantiles of the normal distribution: bitsandbytes' create_normal_map.
constexpr float kNf4Values[16] = {
    -1.0f,                 -0.6961928009986877f,  -0.5250730514526367f,  -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,   0.7229568362236023f,   1.0f,
};

struct QuantKernels {
  // The largest magnitude of n numbers, 0 of none; NaN where one is not finite.
  float (*largestMagnitude)(const float* x, int64_t n);

  // out = x / scale, to nearest, ties to even.
  void (*toInt8)(const float* x, float scale, int8_t* out, int64_t n);
  void (*fromInt8)(const int8_t* x, float scale, float* out, int64_t n);
  void (*int8ToBf16)(const int8_t* x, float scale, uint16_t* out, int64_t n);

  // Codes of n numbers x * inverse in [-1, 1], one a byte.
  void (*toNf4)(const float* x, float inverse, uint8_t* out, int64_t n);
  // Elements [first, first + n) of the flattened matrix.
  void (*fromNf4)(const Nf4& from, int64_t first, int64_t n, float* out);
  void (*nf4ToBf16)(const Nf4& from, int64_t first, int64_t n, uint16_t* out);

  // A panel in bf16 [ceil(k / 2)][nr][2] of k rows that lie `stride` elements apart, from element `first` on; columns <= nr.
  void (*nf4Down)(const Nf4& from, int64_t first, int64_t stride, int64_t k, int columns, uint16_t* out);

  void (*toF16)(const float* x, uint16_t* out, int64_t n);
  void (*fromF16)(const uint16_t* x, float* out, int64_t n);

  // A panel in bf16 [ceil(k / 2)][nr][2] widened to [k][nr].
  void (*widenPairs)(const uint16_t* panel, int64_t k, float* out);
  // Two rows [nr] in bf16 woven into pairs [nr][2].
  void (*weavePairs)(const uint16_t* first, const uint16_t* second, uint16_t* out);
};

}  // namespace graft
