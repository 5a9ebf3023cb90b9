#include "multiply.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "prepacked.h"

namespace graft {

namespace {

// Rows of A that are packed at once.
constexpr int64_t kRows = 1024;

}  // namespace

const void* Right::panel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  if (weight != nullptr) return transposed ? weight->acrossPanel(isa, n0, n, k0, k, scratch) : weight->downPanel(isa, n0, n, k0, k, scratch);
  auto* out = static_cast<float*>(scratch);
  if (columnStride == 1) isa.gemm.panelDown(data + k0 * rowStride + n0, rowStride, k, n, out);
  else isa.gemm.panelAcross(data + n0 * columnStride + k0, columnStride, k, n, out);
  return out;
}

int64_t Added::depth() const {
  int64_t sum = bias != nullptr ? 1 : 0;
  for (const Addend& addend : products) sum += addend.r;
  return sum;
}

void Added::packLeft(int64_t row, int rows, float* out) const {
  if (bias != nullptr) {
    for (int i = 0; i < rows; i++) *out++ = 1;
  }
  for (const Addend& addend : products) {
    for (int64_t l = 0; l < addend.r; l++) {
      for (int i = 0; i < rows; i++) *out++ = addend.left[(row + i) * addend.leftStride + l];
    }
  }
}

void Added::packRight(int64_t n0, int columns, int nr, float* out) const {
  if (bias != nullptr) {
    for (int i = 0; i < nr; i++) *out++ = i < columns ? bias[n0 + i] : 0;
  }
  for (const Addend& addend : products) {
    for (int64_t l = 0; l < addend.r; l++) {
      for (int i = 0; i < nr; i++) *out++ = i < columns ? addend.right[l * addend.rowStride + (n0 + i) * addend.columnStride] : 0;
    }
  }
}

void multiply(Runtime& rt, const Left& a, const Right& b, int64_t m, int64_t k, int64_t n, float* c, int64_t ld, bool accumulate, const Added& added) {
  if (m == 0 || n == 0) return;
  if (k == 0 && !accumulate && added.depth() == 0) {
    for (int64_t i = 0; i < m; i++) std::memset(c + i * ld, 0, static_cast<size_t>(n) * 4);
  }
  const bool bf16 = b.computesBf16(rt.isa);
  const auto product = [&](const Prepacked& left, int64_t row) {
    Added rows = added;
    for (Addend& addend : rows.products) addend.left += row * addend.leftStride;
    left.multiply(b, 0, 0, n, c + row * ld, ld, accumulate, rows);
  };
  auto& kept = rt.packedLeft;
  if (m <= kRows && a.serial != 0) {
    if (kept.serial == a.serial && kept.packed != nullptr && kept.packed->is(m, k, bf16)) {
      product(*kept.packed, 0);
      return;
    }
  }
  kept = {};
  for (int64_t row = 0; row < m; row += kRows) {
    const auto left = std::make_shared<const Prepacked>(rt, std::min(kRows, m - row), k, bf16);
    left->packAll(a.data + row * a.rowStride, a.rowStride, a.columnStride);
    product(*left, row);
    if (m <= kRows && a.serial != 0) kept = {a.serial, left};
  }
}

void multiplyThin(Runtime& rt, const float* x, int64_t m, int64_t k, const float* p, int64_t r, float* out, float scale) {
  rt.pool.ranges(m, 12, [&](int64_t from, int64_t to, int) { rt.isa.gemm.thinRight(x + from * k, k, p, k, out + from * r, r, to - from, k, r, scale); });
}

void multiplyThinLeft(Runtime& rt, const float* u, int64_t r, const float* x, int64_t m, int64_t n, float* out, bool transposed, float scale) {
  // Columns are handed out in whole vectors of the kernel.
  constexpr int64_t kColumns = 48;
  // Rows in blocks, so that what is read of u and x stays close, and sums stay short.
  constexpr int64_t kBlock = 256;
  auto sums = rt.scratch<float>(static_cast<size_t>(r * n));
  rt.pool.ranges(ceilDiv(n, kColumns), 1, [&](int64_t from, int64_t to, int) {
    const int64_t n0 = from * kColumns, n1 = std::min(n, to * kColumns);
    for (int64_t row = 0; row < m; row += kBlock) {
      rt.isa.gemm.thinLeft(u + row * r, r, x + row * n + n0, n, sums.get() + n0, n, std::min(kBlock, m - row), r, n1 - n0, row > 0);
    }
    for (int64_t l = 0; l < r; l++) {
      for (int64_t i = n0; i < n1; i++) {
        const float value = scale * (m > 0 ? sums[static_cast<size_t>(l * n + i)] : 0);
        out[transposed ? i * r + l : l * n + i] = value;
      }
    }
  });
}

}  // namespace graft
