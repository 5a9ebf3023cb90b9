// Kernels of matrix products. A product C[m, n] (+)= A[m, k] B[k, n] is computed in tiles of at most `mr` rows by `nr` columns, from a
// packed block of A (k by rows) and a packed panel of B (k by nr), with all sums of a tile in registers.
#pragma once
#include <cstdint>

namespace graft {

struct GemmKernels {
  int mr;
  int nr;
  // Whether the bf16 kernel computes in bf16 with float32 sums; else bf16 operands are widened first.
  bool bf16;

  // a [rows, k] with strides -> out [k][rows].
  void (*packLeft)(const float* a, int64_t rowStride, int64_t columnStride, int rows, int64_t k, float* out);
  // The same rounded to bf16, in pairs of k: out [ceil(k / 2)][rows][2], an odd end filled with 0.
  void (*packLeftBf16)(const float* a, int64_t rowStride, int64_t columnStride, int rows, int64_t k, uint16_t* out);

  // Panels of B. `down`: b is [k, columns] row-major, ld apart. `across`: b is [columns, k] row-major, ld apart.
  // Columns beyond `columns` are 0. out [k][nr], or in bf16 [ceil(k / 2)][nr][2].
  void (*panelDown)(const float* b, int64_t ld, int64_t k, int columns, float* out);
  void (*panelAcross)(const float* b, int64_t ld, int64_t k, int columns, float* out);
  void (*panelDownBf16)(const uint16_t* b, int64_t ld, int64_t k, int columns, uint16_t* out);
  void (*panelAcrossBf16)(const uint16_t* b, int64_t ld, int64_t k, int columns, uint16_t* out);
  // Widened from bf16.
  void (*panelDownWide)(const uint16_t* b, int64_t ld, int64_t k, int columns, float* out);
  void (*panelAcrossWide)(const uint16_t* b, int64_t ld, int64_t k, int columns, float* out);

  // Of a weight W [n, k] that is packed for products by its transpose, as [ceil(n / nr)][k][nr], the panel for products by W itself of
  // its rows n0 .. n0 + n and columns k0 .. k0 + columns: out [n][nr].
  void (*panelTurned)(const float* panels, int64_t k, int64_t n0, int64_t n, int64_t k0, int columns, float* out);
  void (*panelTurnedBf16)(const uint16_t* panels, int64_t k, int64_t n0, int64_t n, int64_t k0, int columns, uint16_t* out);

  // c [rows, columns], ld apart, (+)= the product of a packed block and a packed panel; rows <= mr, columns <= nr.
  void (*tile)(int64_t k, const float* a, const float* b, float* c, int64_t ld, int rows, int columns, bool accumulate);
  // k counts pairs.
  void (*tileBf16)(int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ld, int rows, int columns, bool accumulate);

  // out [rows, r] = x [rows, k] p^T, p [r, k]: r is small. strides in elements.
  void (*thinRight)(const float* x, int64_t ldx, const float* p, int64_t ldp, float* out, int64_t ldo, int64_t rows, int64_t k, int64_t r, float scale);
  // out [r, columns] (+)= u^T x over `rows` rows: u [rows, r], x [rows, columns].
  void (*thinLeft)(const float* u, int64_t ldu, const float* x, int64_t ldx, float* out, int64_t ldo, int64_t rows, int64_t r, int64_t columns, bool accumulate);

  // out [columns] += h [r] p^T, p [columns, r] dense, for one row and so small an r that p is not worth turning. False: not for this r.
  bool (*thinAcrossRow)(const float* h, const float* p, int64_t r, float* out, int64_t columns);

  // Widening and rounding (to nearest, ties to even) of n numbers.
  void (*fromBf16)(const uint16_t* x, float* y, int64_t n);
  void (*toBf16)(const float* x, uint16_t* y, int64_t n);
  void (*fromF16)(const uint16_t* x, float* y, int64_t n);
};

}  // namespace graft
