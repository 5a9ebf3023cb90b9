// Products with a side of a few rows, such as LoRA's: sums run along whole vectors.

namespace {

// kRows rows of x against kRanks rows of p at once.
template <int kRows, int kRanks>
inline void thinBlock(const float* x, int64_t ldx, const float* p, int64_t ldp, float* out, int64_t ldo, int64_t k, float scale) {
  Vec sum[kRows][kRanks];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; i++) {
#pragma GCC unroll 8
    for (int l = 0; l < kRanks; l++) sum[i][l] = Vec{};
  }
  int64_t j = 0;
  for (; j < k; j += kLanes) {
    const bool whole = j + kLanes <= k;
    const int count = whole ? kLanes : static_cast<int>(k - j);
    Vec rows[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; i++) rows[i] = whole ? load(x + i * ldx + j) : loadSome(x + i * ldx + j, count);
#pragma GCC unroll 8
    for (int l = 0; l < kRanks; l++) {
      const Vec q = whole ? load(p + l * ldp + j) : loadSome(p + l * ldp + j, count);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; i++) sum[i][l] += rows[i] * q;
    }
  }
  for (int i = 0; i < kRows; i++) {
    for (int l = 0; l < kRanks; l++) out[i * ldo + l] = scale * sumOf(sum[i][l]);
  }
}

constexpr int kThinRows = kLanes == 16 ? 3 : 2;
constexpr int kThinRanks = kLanes == 16 ? 8 : 4;

template <int kRows>
inline void thinRanks(const float* x, int64_t ldx, const float* p, int64_t ldp, float* out, int64_t ldo, int64_t k, int64_t r, float scale) {
  int64_t l = 0;
  for (; l + kThinRanks <= r; l += kThinRanks) thinBlock<kRows, kThinRanks>(x, ldx, p + l * ldp, ldp, out + l, ldo, k, scale);
  for (; l < r; l++) thinBlock<kRows, 1>(x, ldx, p + l * ldp, ldp, out + l, ldo, k, scale);
}

void thinRight(const float* x, int64_t ldx, const float* p, int64_t ldp, float* out, int64_t ldo, int64_t rows, int64_t k, int64_t r, float scale) {
  int64_t i = 0;
  for (; i + kThinRows <= rows; i += kThinRows) thinRanks<kThinRows>(x + i * ldx, ldx, p, ldp, out + i * ldo, ldo, k, r, scale);
  for (; i < rows; i++) thinRanks<1>(x + i * ldx, ldx, p, ldp, out + i * ldo, ldo, k, r, scale);
}

template <int kRanks, int kVectors>
inline void thinColumns(const float* u, int64_t ldu, const float* x, int64_t ldx, float* out, int64_t ldo, int64_t rows, int count, bool accumulate) {
  Vec sum[kRanks][kVectors];
#pragma GCC unroll 8
  for (int l = 0; l < kRanks; l++) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) sum[l][v] = Vec{};
  }
  const bool whole = count == kVectors * kLanes;
  for (int64_t i = 0; i < rows; i++) {
    Vec row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) row[v] = whole ? load(x + i * ldx + v * kLanes) : loadSome(x + i * ldx + v * kLanes, count);
#pragma GCC unroll 8
    for (int l = 0; l < kRanks; l++) {
      const Vec w = all(u[i * ldu + l]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sum[l][v] += w * row[v];
    }
  }
  for (int l = 0; l < kRanks; l++) {
    for (int v = 0; v < kVectors; v++) {
      float* to = out + l * ldo + v * kLanes;
      if (whole) store(to, accumulate ? load(to) + sum[l][v] : sum[l][v]);
      else storeSome(to, accumulate ? loadSome(to, count) + sum[l][v] : sum[l][v], count);
    }
  }
}

constexpr int kThinVectors = kLanes == 16 ? 3 : 2;

template <int kRanks>
inline void thinAcross(const float* u, int64_t ldu, const float* x, int64_t ldx, float* out, int64_t ldo, int64_t rows, int64_t columns, bool accumulate) {
  int64_t n = 0;
  for (; n + kThinVectors * kLanes <= columns; n += kThinVectors * kLanes) thinColumns<kRanks, kThinVectors>(u, ldu, x + n, ldx, out + n, ldo, rows, kThinVectors * kLanes, accumulate);
  for (; n < columns; n += kLanes) {
    const int count = static_cast<int>(columns - n < kLanes ? columns - n : kLanes);
    thinColumns<kRanks, 1>(u, ldu, x + n, ldx, out + n, ldo, rows, count, accumulate);
  }
}

void thinLeft(const float* u, int64_t ldu, const float* x, int64_t ldx, float* out, int64_t ldo, int64_t rows, int64_t r, int64_t columns, bool accumulate) {
  int64_t l = 0;
  for (; l + kThinRanks <= r; l += kThinRanks) thinAcross<kThinRanks>(u + l, ldu, x, ldx, out + l * ldo, ldo, rows, columns, accumulate);
  for (; l < r; l++) thinAcross<1>(u + l, ldu, x, ldx, out + l * ldo, ldo, rows, columns, accumulate);
}

// Columns side by side, so that the compiler turns whole vectors of them.
template <int kRanks>
inline void thinRow(const float* __restrict h, const float* __restrict p, float* __restrict out, int64_t columns) {
  float scales[kRanks];
  for (int l = 0; l < kRanks; l++) scales[l] = h[l];
  for (int64_t n = 0; n < columns; n++) {
    float sum = 0;
#pragma GCC unroll 8
    for (int l = 0; l < kRanks; l++) sum += p[n * kRanks + l] * scales[l];
    out[n] += sum;
  }
}

bool thinAcrossRow(const float* h, const float* p, int64_t r, float* out, int64_t columns) {
  if (r == 8) thinRow<8>(h, p, out, columns);
  else if (r == 4) thinRow<4>(h, p, out, columns);
  else if (r == 2) thinRow<2>(h, p, out, columns);
  else if (r == 1) thinRow<1>(h, p, out, columns);
  else return false;
  return true;
}

}  // namespace
