// The left side of a product as the tile kernels read it, and the product itself: the one loop over tiles. Used as it is for parts of a
// matrix on the right, and for left sides that are made on the way; multiply.h has products of whole matrices.
#pragma once
#include <cstdint>

#include "multiply.h"

namespace graft {

// Rows cut into blocks of nearly equal height, none above the tile's.
class RowBlocks {
 public:
  RowBlocks(int64_t rows, int most);
  int64_t count() const { return count_; }
  int64_t start(int64_t block) const { return block * height_; }
  int height(int64_t block) const { return static_cast<int>(rows_ - start(block) < height_ ? rows_ - start(block) : height_); }

 private:
  int64_t rows_, height_, count_;
};

// A [rows, k] as the tile kernels read it, in bf16 or float32.
class Prepacked {
 public:
  Prepacked(Runtime& rt, int64_t rows, int64_t k, bool bf16);

  bool is(int64_t rows, int64_t k, bool bf16) const { return rows_ == rows && k_ == k && bf16_ == bf16; }
  static size_t bytes(int64_t rows, int64_t k, bool bf16) { return static_cast<size_t>(rows) * static_cast<size_t>(bf16 ? (k + 1) / 2 : k) * 4; }
  const RowBlocks& blocks() const { return blocks_; }
  // Packs one block from float32 whose first row is the block's.
  void pack(int64_t block, const float* from, int64_t rowStride, int64_t columnStride) const;

  // Packs all of it, on all threads.
  void packAll(const float* from, int64_t rowStride, int64_t columnStride) const;

  // c [rows, n], ld apart, (+)= A B + what is added, B [k, n] being the rows from `row` on and the columns from `column` on of `right`. On
  // float32 both may be any; on a weight they are multiples of nr.
  void multiply(const Right& right, int64_t row, int64_t column, int64_t n, float* c, int64_t ld, bool accumulate, const Added& added = {}) const;

 private:
  const char* at(int64_t block, int64_t k) const;

  Runtime& rt_;
  int64_t rows_, k_;
  bool bf16_;
  RowBlocks blocks_;
  Scratch<char> memory_;
};

}  // namespace graft
