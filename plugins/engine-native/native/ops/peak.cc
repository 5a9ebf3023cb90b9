// How fast this machine's arithmetic is at its best: tiles whose operands never leave the first cache.
#include <cstring>

#include "registry.h"

namespace graft {

namespace {

constexpr int64_t kPeakDepth = 64;

// bf16, repetitions of a tile of 64 sums a thread
void peak(Runtime& rt, Args& args) {
  const bool bf16 = args.flag();
  const int64_t repetitions = args.integer();
  const GemmKernels& kernels = rt.isa.gemm;
  rt.pool.run(rt.pool.threads(), [&](int64_t, int) {
    alignas(64) float a[16 * kPeakDepth] = {};
    alignas(64) float b[64 * kPeakDepth] = {};
    alignas(64) float c[16 * 64] = {};
    for (int64_t i = 0; i < repetitions; i++) {
      if (bf16) kernels.tileBf16(kPeakDepth, reinterpret_cast<const uint16_t*>(a), reinterpret_cast<const uint16_t*>(b), c, 64, kernels.mr, kernels.nr, true);
      else kernels.tile(kPeakDepth, a, b, c, 64, kernels.mr, kernels.nr, true);
    }
  });
}

}  // namespace

const std::vector<NamedOperation> peakOperations = {{"peak", peak}};

}  // namespace graft
