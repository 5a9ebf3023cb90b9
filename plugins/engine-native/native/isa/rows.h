// Kernels that go over the rows of a matrix, or over its elements, once. See core/tensor/ops for the definitions, and
// core/tensor/adamw.ts for the optimizer's.
#pragma once
#include <cstdint>

namespace graft {

// What one AdamW step multiplies and divides by.
struct AdamWStep {
  double beta1, beta2, eps;
  // lr / (1 - beta1^t), sqrt(1 - beta2^t)
  double stepSize, correction;
  // Of every gradient first.
  double scale;
};

struct RowKernels {
  // y = x r w, r = 1 / sqrt(mean(x^2) + eps): x, y [rows, size], w [size], r [rows] or nullptr.
  void (*rmsNorm)(const float* x, const float* w, float* y, float* r, int64_t rows, int64_t size, float eps);
  // With g = dy w: dx = r (g - x r^2 mean(g x)), dw += sum of rows of dy x r. dx and dw may be nullptr.
  void (*rmsNormBackward)(const float* dy, const float* x, const float* w, const float* r, float* dx, float* dw, int64_t rows, int64_t size);

  // Pairs (i, i + half) turned by their angle, the other way where sign is -1: x, y [tokens, heads, 2 half], cos, sin [tokens, half].
  void (*rope)(const float* x, const float* cos, const float* sin, float* y, int64_t tokens, int64_t heads, int64_t half, float sign);

  // y = gate s up with s = sigmoid(gate); n elements.
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t n);
  // dup = dy gate s, dgate = dy up s (1 + gate (1 - s)). Either may be nullptr.
  void (*swigluBackward)(const float* dy, const float* gate, const float* up, float* dgate, float* dup, int64_t n);

  // y = x kept where the 32 random bits of an element reach `threshold`, else x 0. `first` is the number of x[0] in its tensor.
  void (*dropout)(const float* x, float* y, int64_t n, uint32_t first, uint32_t low, uint32_t high, uint32_t threshold, float kept);

  double (*sumOfSquares)(const float* x, int64_t n);
  // p, m, v in their new values from the old: next may be p.
  void (*adamw)(const float* p, const float* g, float* m, float* v, float* next, int64_t n, const AdamWStep& step, double decayed);
};

}  // namespace graft
