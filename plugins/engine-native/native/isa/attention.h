// Kernels of attention.
#pragma once
#include <cstdint>

namespace graft {

struct AttentionKernels {
  int lanes;
};

}  // namespace graft
