// The kernels of one instruction set, as pointers: the same sources are compiled once for each set, and the best that the
// processor has is chosen at start.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention.h"
#include "elements.h"
#include "gemm.h"
#include "loss.h"
#include "quant.h"
#include "rows.h"

namespace graft {

struct Isa {
  const char* name;
  GemmKernels gemm;
  RowKernels rows;
  AttentionKernels attention;
  ElementKernels elements;
  LossKernels loss;
  QuantKernels quant;
};

const Isa& isaBase();
#if defined(__x86_64__) || defined(_M_X64)
const Isa& isaAvx2();
const Isa& isaAvx512();
const Isa& isaAvx512Bf16();
#endif

// Those that this processor runs, the best first.
struct IsaList {
  const Isa* list[4];
  int count;
};
IsaList availableIsas();

}  // namespace graft
