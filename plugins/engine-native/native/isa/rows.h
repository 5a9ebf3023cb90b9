// Kernels that go over the rows of a matrix.
#pragma once
#include <cstdint>

namespace graft {

struct RowKernels {
  int lanes;
};

}  // namespace graft
