// The panels of frozen weights that products read: found packed, or made from what is stored.
#include <cstring>

#include "quantized.h"
#include "weight.h"

namespace graft {

namespace {

// Columns of a row that are decoded at a time on the way into a panel.
constexpr int64_t kStrip = 256;
// Columns of the widest panel.
constexpr int kWidest = 32;

// Words of a panel packed in bf16, of `columns` columns.
int64_t packedStride(int64_t columns, int nr) { return (columns + 1) / 2 * nr * 2; }

}  // namespace

size_t Weight::scratchBytes(const Isa& isa, int64_t k) {
  const size_t panel = static_cast<size_t>((k + 1) * isa.gemm.nr) * 4;
  const size_t strip = static_cast<size_t>(isa.gemm.nr * kStrip) * 4;
  return panel + strip + 256;
}

const void* Weight::acrossPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const bool bf16 = computesBf16(isa);
  auto* wide = static_cast<float*>(scratch);
  auto* narrow = static_cast<uint16_t*>(scratch);
  if (packed && format == Format::f32) return static_cast<const float*>(storage->data()) + (n0 / nr * columns + k0) * nr;
  if (packed) {
    const uint16_t* panel = static_cast<const uint16_t*>(storage->data()) + n0 / nr * packedStride(columns, nr) + k0 / 2 * nr * 2;
    if (bf16) return panel;
    isa.quant.widenPairs(panel, k, wide);
    return scratch;
  }
  storage->reading();
  const int64_t at = n0 * columns + k0;
  if (format == Format::f32) {
    kernels.panelAcross(static_cast<const float*>(storage->data()) + at, columns, k, n, wide);
  } else if (format == Format::bf16 && bf16) {
    kernels.panelAcrossBf16(static_cast<const uint16_t*>(storage->data()) + at, columns, k, n, narrow);
  } else if (format == Format::bf16) {
    kernels.panelAcrossWide(static_cast<const uint16_t*>(storage->data()) + at, columns, k, n, wide);
  } else {
    void* strip = static_cast<char*>(scratch) + (static_cast<size_t>((k + 1) * nr) * 4 + 63) / 64 * 64;
    for (int64_t from = 0; from < k; from += kStrip) {
      const int64_t count = k - from < kStrip ? k - from : kStrip;
      if (bf16) {
        auto* rows16 = static_cast<uint16_t*>(strip);
        for (int row = 0; row < n; row++) readBf16(isa, n0 + row, k0 + from, count, rows16 + row * kStrip);
        kernels.panelAcrossBf16(rows16, kStrip, count, n, narrow + from * nr);
      } else {
        auto* rows32 = static_cast<float*>(strip);
        for (int row = 0; row < n; row++) read(isa, n0 + row, k0 + from, count, rows32 + row * kStrip);
        kernels.panelAcross(rows32, kStrip, count, n, wide + from * nr);
      }
    }
  }
  return scratch;
}

namespace {

// Columns n0 .. n0 + n of rows that are packed in bf16, as float32 [k][nr].
void turnPacked(const Weight& weight, const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, float* out) {
  const int nr = isa.gemm.nr;
  alignas(64) float wide[(kWidest + 1) * kWidest];
  for (int64_t done = 0; done < k; done += nr) {
    const uint16_t* panel = static_cast<const uint16_t*>(weight.storage->data()) + (k0 + done) / nr * packedStride(weight.columns, nr) + n0 / 2 * nr * 2;
    isa.quant.widenPairs(panel, n, wide);
    isa.gemm.panelAcross(wide, nr, k - done < nr ? k - done : nr, n, out + done * nr);
  }
}

}  // namespace

const void* Weight::downPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const bool bf16 = computesBf16(isa);
  auto* wide = static_cast<float*>(scratch);
  auto* narrow = static_cast<uint16_t*>(scratch);
  const int64_t at = k0 * columns + n0;
  // Where a row that is read soon begins, in bytes.
  const auto rowsAhead = [&](int64_t first, int64_t row) {
    const int64_t element = first + (row + 12) * columns;
    return format == Format::f16 ? 2 * element : format == Format::nf4 ? element / 2 : element;
  };
  storage->reading();
  if (packed && format == Format::f32) {
    kernels.panelTurned(static_cast<const float*>(storage->data()), columns, k0, k, n0, n, wide);
  } else if (packed && bf16) {
    kernels.panelTurnedBf16(static_cast<const uint16_t*>(storage->data()), columns, k0, k, n0, n, narrow);
  } else if (packed) {
    turnPacked(*this, isa, n0, n, k0, k, wide);
  } else if (format == Format::f32) {
    kernels.panelDown(static_cast<const float*>(storage->data()) + at, columns, k, n, wide);
  } else if (format == Format::bf16 && bf16) {
    kernels.panelDownBf16(static_cast<const uint16_t*>(storage->data()) + at, columns, k, n, narrow);
  } else if (format == Format::bf16) {
    kernels.panelDownWide(static_cast<const uint16_t*>(storage->data()) + at, columns, k, n, wide);
  } else if (bf16 && format == Format::nf4) {
    nf4DownPanel(*this, isa, n0, n, k0, k, narrow);
  } else if (bf16) {
    alignas(64) uint16_t pair[2][kWidest] = {};
    for (int64_t j = 0; j < k; j += 2) {
      for (int64_t row = j; row < j + 2; row++) __builtin_prefetch(static_cast<const char*>(storage->data()) + rowsAhead(at, row));
      readBf16(isa, k0 + j, n0, n, pair[0]);
      if (j + 1 < k) readBf16(isa, k0 + j + 1, n0, n, pair[1]);
      else std::memset(pair[1], 0, sizeof pair[1]);
      isa.quant.weavePairs(pair[0], pair[1], narrow + j * nr);
    }
  } else {
    for (int64_t j = 0; j < k; j++) {
      float* out = wide + j * nr;
      __builtin_prefetch(static_cast<const char*>(storage->data()) + rowsAhead(at, j));
      read(isa, k0 + j, n0, n, out);
      for (int c = n; c < nr; c++) out[c] = 0;
    }
  }
  return scratch;
}

}  // namespace graft
