// One instruction set's table: each isa_*.cc defines GRAFT_ISA_NAME and GRAFT_ISA_FUNCTION and includes this.
#include "isa.h"
#include "vector.h"

#include "gemm.inl.h"
#include "attention.inl.h"
#include "elements.inl.h"
#include "rows.inl.h"
#include "loss.inl.h"
#include "quant.inl.h"

namespace graft {

const Isa& GRAFT_ISA_FUNCTION() {
  static const Isa isa = {GRAFT_ISA_NAME, gemmKernels, rowsKernels, attentionKernels, elementsKernels, lossKernels, quantKernels};
  return isa;
}

}  // namespace graft
