// Kernels of the softmax and loss of an output layer whose logits come a range of classes at a time.
#pragma once
#include <cstdint>

namespace graft {

struct LossKernels {
  // Logits x [rows, columns], ld apart, of the classes first .. first + columns -> exp(x - largest), and 0 at the row's target, whose
  // logit goes to targetLogits. `largest` and `rest`, the sum of exp(x - largest), are kept over the calls, of all classes but the
  // target; -inf and 0 at the start. shrinks: exp(largest before - largest now), what sums made before are to be multiplied by.
  void (*soften)(float* x, int64_t ld, int rows, int64_t columns, const int32_t* targets, int64_t first, float* largest, float* rest, float* targetLogits, float* shrinks);

  // Logits -> factor * exp(x - largest), and targetFactor at the target.
  void (*weigh)(float* x, int64_t ld, int rows, int64_t columns, const int32_t* targets, int64_t first, const float* largest, const float* factors, const float* targetFactors);

  // y = a x + b y
  void (*blend)(float a, const float* x, float b, float* y, int64_t n);
};

}  // namespace graft
