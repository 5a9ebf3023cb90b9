// Matrix products over the pool.
#pragma once
#include <cstdint>
#include <vector>

#include "../runtime/runtime.h"
#include "ceil-div.h"
#include "weight.h"

namespace graft {

// A [m, k] in float32.
struct Left {
  const float* data;
  int64_t rowStride;
  int64_t columnStride;
  // Of the tensor that it is all of; 0 where it is not one. The same left side is packed once for products that follow each other.
  uint64_t serial;
};

// B [k, n]: a frozen weight, or float32 with strides of which one is 1.
struct Right {
  const Weight* weight = nullptr;
  // W^T [columns, rows] of the weight, else W [rows, columns].
  bool transposed = false;
  const float* data = nullptr;
  int64_t rowStride = 0;
  int64_t columnStride = 0;

  static Right ofWeight(const Weight& w, bool transposed) { Right r; r.weight = &w; r.transposed = transposed; return r; }
  static Right ofTensor(const float* data, int64_t rowStride, int64_t columnStride) { Right r; r.data = data; r.rowStride = rowStride; r.columnStride = columnStride; return r; }
  bool computesBf16(const Isa& isa) const { return weight != nullptr && weight->computesBf16(isa); }
  const void* panel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const;
};

// A product of small depth that is added in the same pass: left [m, r], right(l, n) = data[l * rowStride + n * columnStride].
struct Addend {
  const float* left;
  int64_t leftStride;
  int64_t r;
  const float* right;
  int64_t rowStride;
  int64_t columnStride;
};

// What a product adds to each row: low-rank products, and bias [n] or nullptr.
struct Added {
  std::vector<Addend> products;
  const float* bias = nullptr;

  // Their depths together; a bias is a column of ones.
  int64_t depth() const;
  // `rows` rows from `row` on as a packed left side [depth][rows].
  void packLeft(int64_t row, int rows, float* out) const;
  // Columns n0 .. n0 + columns as a packed panel [depth][nr].
  void packRight(int64_t n0, int columns, int nr, float* out) const;
};

// c [m, n], rows ld apart, (+)= A B + what is added.
void multiply(Runtime& rt, const Left& a, const Right& b, int64_t m, int64_t k, int64_t n, float* c, int64_t ld, bool accumulate, const Added& added = {});

// out [m, r] = scale * x p^T: x [m, k], p [r, k] with r small.
void multiplyThin(Runtime& rt, const float* x, int64_t m, int64_t k, const float* p, int64_t r, float* out, float scale);

// out [r, n] = scale * u^T x: u [m, r] with r small, x [m, n]. `transposed`: out is [n, r].
void multiplyThinLeft(Runtime& rt, const float* u, int64_t r, const float* x, int64_t m, int64_t n, float* out, bool transposed, float scale);

}  // namespace graft
