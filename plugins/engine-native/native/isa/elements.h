// Kernels that go element by element.
#pragma once
#include <cstdint>

namespace graft {

struct ElementKernels {
  int lanes;
};

}  // namespace graft
