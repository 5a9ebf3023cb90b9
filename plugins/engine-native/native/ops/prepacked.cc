#include "prepacked.h"

#include <algorithm>
#include <optional>

namespace graft {

namespace {

// Terms of a sum that are added up in registers: a panel of so many rows stays in the second cache, and float32 sums stay short.
constexpr int64_t kDepth = 2048;

}  // namespace

RowBlocks::RowBlocks(int64_t rows, int most) : rows_(rows), height_(ceilDiv(rows, ceilDiv(rows, most))), count_(ceilDiv(rows, height_)) {}

Prepacked::Prepacked(Runtime& rt, int64_t rows, int64_t k, bool bf16)
    : rt_(rt), rows_(rows), k_(k), bf16_(bf16), blocks_(rows, rt.isa.gemm.mr), memory_(rt.scratch<char>(bytes(rows, k, bf16) + 64)) {}

// A block's k lies k elements, or in bf16 k / 2 pairs, for each of its rows behind its beginning.
const char* Prepacked::at(int64_t block, int64_t k) const {
  return memory_.get() + bytes(blocks_.start(block), k_, bf16_) + bytes(blocks_.height(block), k, bf16_);
}

void Prepacked::pack(int64_t block, const float* from, int64_t rowStride, int64_t columnStride) const {
  char* to = memory_.get() + bytes(blocks_.start(block), k_, bf16_);
  const GemmKernels& kernels = rt_.isa.gemm;
  if (bf16_) kernels.packLeftBf16(from, rowStride, columnStride, blocks_.height(block), k_, reinterpret_cast<uint16_t*>(to));
  else kernels.packLeft(from, rowStride, columnStride, blocks_.height(block), k_, reinterpret_cast<float*>(to));
}

void Prepacked::packAll(const float* from, int64_t rowStride, int64_t columnStride) const {
  rt_.pool.run(blocks_.count(), [&](int64_t block, int) { pack(block, from + blocks_.start(block) * rowStride, rowStride, columnStride); });
}

void Prepacked::multiply(const Right& right, int64_t row, int64_t column, int64_t n, float* c, int64_t ld, bool accumulate, const Added& added) const {
  const GemmKernels& kernels = rt_.isa.gemm;
  const int nr = kernels.nr;
  const int64_t extra = added.depth();
  std::optional<Scratch<float>> extraLeft;
  if (extra > 0) {
    extraLeft.emplace(rt_.scratch<float>(static_cast<size_t>(extra * rows_)));
    rt_.pool.run(blocks_.count(), [&](int64_t block, int) { added.packLeft(blocks_.start(block), blocks_.height(block), extraLeft->get() + blocks_.start(block) * extra); });
  }

  const int64_t panels = ceilDiv(n, nr);
  const int threads = rt_.pool.threads();
  // What does not divide evenly among the threads is cut along the rows as well.
  const int64_t wholePanels = blocks_.count() >= 2 * threads ? panels - panels % threads : panels;
  const int64_t jobs = wholePanels + (panels - wholePanels) * threads;
  // Of each thread: a panel of what is added, and one of B.
  const size_t extraBytes = (static_cast<size_t>(extra * nr) * 4 + 63) / 64 * 64;
  const size_t roomBytes = extraBytes + Weight::scratchBytes(rt_.isa, std::min(k_, kDepth)) + 64;
  auto rooms = rt_.scratch<char>(roomBytes * static_cast<size_t>(threads));

  rt_.pool.run(jobs, [&](int64_t job, int worker) {
    const bool split = job >= wholePanels;
    const int64_t n0 = (split ? wholePanels + (job - wholePanels) / threads : job) * nr;
    const int64_t part = split ? (job - wholePanels) % threads : 0, parts = split ? threads : 1;
    const int64_t first = blocks_.count() * part / parts, end = blocks_.count() * (part + 1) / parts;
    const int columns = static_cast<int>(std::min<int64_t>(nr, n - n0));
    char* room = rooms.get() + roomBytes * static_cast<size_t>(worker);
    for (int64_t k0 = 0; k0 < k_; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, k_ - k0);
      const void* panel = right.panel(rt_.isa, column + n0, columns, row + k0, depth, room + extraBytes);
      for (int64_t block = first; block < end; block++) {
        float* to = c + blocks_.start(block) * ld + n0;
        if (bf16_) kernels.tileBf16((depth + 1) / 2, reinterpret_cast<const uint16_t*>(at(block, k0)), static_cast<const uint16_t*>(panel), to, ld, blocks_.height(block), columns, accumulate || k0 > 0);
        else kernels.tile(depth, reinterpret_cast<const float*>(at(block, k0)), static_cast<const float*>(panel), to, ld, blocks_.height(block), columns, accumulate || k0 > 0);
      }
    }
    if (extra == 0) return;
    auto* extraRight = reinterpret_cast<float*>(room);
    added.packRight(n0, columns, nr, extraRight);
    for (int64_t block = first; block < end; block++) {
      kernels.tile(extra, extraLeft->get() + blocks_.start(block) * extra, extraRight, c + blocks_.start(block) * ld + n0, ld, blocks_.height(block), columns, accumulate || k_ > 0);
    }
  });
}

}  // namespace graft
