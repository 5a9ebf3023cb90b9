#include "multiply.h"

#include <algorithm>
#include <cstring>

namespace graft {

namespace {

// Terms of a sum that are added up in registers: a panel of so many rows stays in the second cache, and float32 sums stay short.
constexpr int64_t kDepth = 2048;
// Rows of A that are packed at once.
constexpr int64_t kRows = 1024;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows cut into blocks of nearly equal size, none above mr.
struct Blocks {
  int64_t rows, count, size;
  Blocks(int64_t m, int mr) : rows(m), count(ceilDiv(m, mr)), size(ceilDiv(m, count)) { count = ceilDiv(m, size); }
  int64_t start(int64_t block) const { return block * size; }
  int height(int64_t block) const { return static_cast<int>(std::min(size, rows - block * size)); }
};

}  // namespace

const void* Right::panel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  if (weight != nullptr) return transposed ? weight->acrossPanel(isa, n0, n, k0, k, scratch) : weight->downPanel(isa, n0, n, k0, k, scratch);
  auto* out = static_cast<float*>(scratch);
  if (columnStride == 1) isa.gemm.panelDown(data + k0 * rowStride + n0, rowStride, k, n, out);
  else isa.gemm.panelAcross(data + n0 * columnStride + k0, columnStride, k, n, out);
  return out;
}

namespace {

// Packs rows [0, m) of A for the tile kernels, or finds them packed.
const char* packed(Runtime& rt, const Left& a, int64_t m, int64_t k, bool bf16, const Blocks& blocks, bool whole) {
  auto& kept = rt.packedLeft;
  if (whole && a.serial != 0 && kept.serial == a.serial && kept.rows == m && kept.depth == k && kept.bf16 == bf16) return kept.memory[0].get();
  const size_t perRow = bf16 ? static_cast<size_t>((k + 1) / 2) * 4 : static_cast<size_t>(k) * 4;
  kept.serial = 0;
  kept.memory.clear();
  kept.memory.push_back(rt.scratch<char>(perRow * static_cast<size_t>(m) + 64));
  char* out = kept.memory[0].get();
  rt.pool.run(blocks.count, [&](int64_t block, int) {
    const float* from = a.data + blocks.start(block) * a.rowStride;
    char* to = out + perRow * static_cast<size_t>(blocks.start(block));
    if (bf16) rt.isa.gemm.packLeftBf16(from, a.rowStride, a.columnStride, blocks.height(block), k, reinterpret_cast<uint16_t*>(to));
    else rt.isa.gemm.packLeft(from, a.rowStride, a.columnStride, blocks.height(block), k, reinterpret_cast<float*>(to));
  });
  kept.serial = whole ? a.serial : 0;
  kept.rows = m;
  kept.depth = k;
  kept.bf16 = bf16;
  return out;
}

void multiplyRows(Runtime& rt, const Left& a, const Right& b, int64_t m, int64_t k, int64_t n, float* c, int64_t ld, bool accumulate, const std::vector<Addend>& addends, const float* bias, bool whole) {
  const Isa& isa = rt.isa;
  const GemmKernels& kernels = isa.gemm;
  const bool bf16 = b.computesBf16(isa);
  const Blocks blocks(m, kernels.mr);
  const char* left = packed(rt, a, m, k, bf16, blocks, whole);
  const int64_t depthOfRow = bf16 ? (k + 1) / 2 : k;

  // What is added rides behind the product: [m, extra] packed like A, a bias as a column of ones.
  int64_t extra = bias != nullptr ? 1 : 0;
  for (const auto& addend : addends) extra += addend.r;
  auto extraLeft = rt.scratch<float>(static_cast<size_t>(std::max<int64_t>(1, extra * m)));
  if (extra > 0) {
    rt.pool.run(blocks.count, [&](int64_t block, int) {
      const int height = blocks.height(block);
      float* to = extraLeft.get() + blocks.start(block) * extra;
      if (bias != nullptr) {
        for (int i = 0; i < height; i++) *to++ = 1;
      }
      for (const auto& addend : addends) {
        for (int64_t l = 0; l < addend.r; l++) {
          for (int i = 0; i < height; i++) *to++ = addend.left[(blocks.start(block) + i) * addend.leftStride + l];
        }
      }
    });
  }

  const int nr = kernels.nr;
  const int64_t panels = ceilDiv(n, nr);
  const int threads = rt.pool.threads();
  // What does not divide evenly among the threads is cut along the rows as well.
  const int64_t wholePanels = blocks.count >= 2 * threads ? panels - panels % threads : panels;
  const int64_t jobs = wholePanels + (panels - wholePanels) * threads;
  const size_t scratchBytes = Weight::scratchBytes(isa, std::min(k, kDepth)) + static_cast<size_t>(extra * nr) * 4 + 128;
  auto scratch = rt.scratch<char>(scratchBytes * static_cast<size_t>(threads));

  rt.pool.run(jobs, [&](int64_t job, int worker) {
    const bool split = job >= wholePanels;
    const int64_t panel = split ? wholePanels + (job - wholePanels) / threads : job;
    const int64_t part = split ? (job - wholePanels) % threads : 0;
    const int64_t firstBlock = split ? blocks.count * part / threads : 0;
    const int64_t endBlock = split ? blocks.count * (part + 1) / threads : blocks.count;
    const int64_t n0 = panel * nr;
    const int columns = static_cast<int>(std::min<int64_t>(nr, n - n0));
    char* own = scratch.get() + scratchBytes * static_cast<size_t>(worker);
    auto* extraRight = reinterpret_cast<float*>(own);
    void* room = own + (static_cast<size_t>(extra * nr) * 4 + 63) / 64 * 64;
    bool adds = accumulate;
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, k - k0);
      const void* right = b.panel(isa, n0, columns, k0, depth, room);
      for (int64_t block = firstBlock; block < endBlock; block++) {
        const int height = blocks.height(block);
        float* to = c + blocks.start(block) * ld + n0;
        if (bf16) {
          const auto* from = reinterpret_cast<const uint16_t*>(left) + (blocks.start(block) * depthOfRow + k0 / 2 * height) * 2;
          kernels.tileBf16((depth + 1) / 2, from, static_cast<const uint16_t*>(right), to, ld, height, columns, adds);
        } else {
          const auto* from = reinterpret_cast<const float*>(left) + blocks.start(block) * depthOfRow + k0 * height;
          kernels.tile(depth, from, static_cast<const float*>(right), to, ld, height, columns, adds);
        }
      }
      adds = true;
    }
    if (extra == 0) return;
    float* at = extraRight;
    if (bias != nullptr) {
      for (int i = 0; i < nr; i++) *at++ = i < columns ? bias[n0 + i] : 0;
    }
    for (const auto& addend : addends) {
      for (int64_t l = 0; l < addend.r; l++) {
        for (int i = 0; i < nr; i++) *at++ = i < columns ? addend.right[l * addend.rowStride + (n0 + i) * addend.columnStride] : 0;
      }
    }
    for (int64_t block = firstBlock; block < endBlock; block++) {
      kernels.tile(extra, extraLeft.get() + blocks.start(block) * extra, extraRight, c + blocks.start(block) * ld + n0, ld, blocks.height(block), columns, true);
    }
  });
}

}  // namespace

void multiply(Runtime& rt, const Left& a, const Right& b, int64_t m, int64_t k, int64_t n, float* c, int64_t ld, bool accumulate, const std::vector<Addend>& addends, const float* bias) {
  if (m == 0 || n == 0) return;
  if (k == 0 && !accumulate) {
    for (int64_t i = 0; i < m; i++) std::memset(c + i * ld, 0, static_cast<size_t>(n) * 4);
  }
  for (int64_t row = 0; row < m; row += kRows) {
    const int64_t count = std::min(kRows, m - row);
    const Left part{a.data + row * a.rowStride, a.rowStride, a.columnStride, a.serial};
    std::vector<Addend> rows = addends;
    for (auto& addend : rows) addend.left += row * addend.leftStride;
    multiplyRows(rt, part, b, count, k, n, c + row * ld, ld, accumulate || k == 0, rows, bias, m <= kRows);
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
