// See elements.h for what each function computes.

namespace {
namespace elements {

// Numbers that are added up in float32 before their sum goes on in float64.
constexpr int64_t kShortSum = 64 * kLanes;
constexpr int64_t kShortSumDown = 128;

inline Vec loadPadded(const float* p, int count, float padding) {
  Vec v = all(padding);
  std::memcpy(&v, p, static_cast<size_t>(count) * 4);
  return v;
}

inline float shortSum(const float* x, int64_t n) {
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int l = 0; l < 4; l++) sums[l] += load(x + i + l * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += load(x + i);
  if (i < n) sums[1] += loadSome(x + i, static_cast<int>(n - i));
  return sumOf((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

double sum(const float* x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kShortSum) total += static_cast<double>(shortSum(x + i, n - i < kShortSum ? n - i : kShortSum));
  return total;
}

// Of a held and a new number, which to go on with: NaN, once met, is held.
struct Larger {
  static constexpr float kLeast = -__builtin_inff();
  static Vec of(Vec held, Vec x) { return (x > held) | (x != x) ? x : held; }
  static float of(float held, float x) { return x > held || x != x ? x : held; }
};
struct Smaller {
  static constexpr float kLeast = __builtin_inff();
  static Vec of(Vec held, Vec x) { return (x < held) | (x != x) ? x : held; }
  static float of(float held, float x) { return x < held || x != x ? x : held; }
};

template <class Pick>
float extreme(const float* x, int64_t n) {
  Vec held = all(Pick::kLeast), other = held;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    held = Pick::of(held, load(x + i));
    other = Pick::of(other, load(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) held = Pick::of(held, load(x + i));
  if (i < n) other = Pick::of(other, loadPadded(x + i, static_cast<int>(n - i), Pick::kLeast));
  held = Pick::of(held, other);
  float result = held[0];
  for (int l = 1; l < kLanes; l++) result = Pick::of(result, held[l]);
  return result;
}

template <int kColumns>
inline void addRows(const float* x, int64_t ld, int64_t rows, int columns, float* sums) {
  const int width = kColumns > 0 ? kColumns : columns;
  for (int64_t row = 0; row < rows; row++) {
    for (int c = 0; c < width; c++) sums[c] += x[row * ld + c];
  }
}

void sumDown(const float* x, int64_t ld, int64_t rows, int columns, double* out) {
  for (int c = 0; c < columns; c++) out[c] = 0;
  for (int64_t row = 0; row < rows; row += kShortSumDown) {
    const int64_t count = rows - row < kShortSumDown ? rows - row : kShortSumDown;
    float sums[graft::kStripColumns] = {};
    if (columns == graft::kStripColumns) addRows<graft::kStripColumns>(x + row * ld, ld, count, columns, sums);
    else addRows<0>(x + row * ld, ld, count, columns, sums);
    for (int c = 0; c < columns; c++) out[c] += static_cast<double>(sums[c]);
  }
}

template <class Pick>
void extremeDown(const float* x, int64_t ld, int64_t rows, int columns, float* out) {
  for (int c = 0; c < columns; c++) out[c] = Pick::kLeast;
  for (int64_t row = 0; row < rows; row++) {
    for (int c = 0; c < columns; c++) out[c] = Pick::of(out[c], x[row * ld + c]);
  }
}

// y = e^(x - most), or nothing is written; the sum of them.
template <bool kStores>
inline double exponentials(const float* x, float* y, int64_t n, float most) {
  double total = 0;
  for (int64_t from = 0; from < n; from += kShortSum) {
    const int64_t to = n - from < kShortSum ? n : from + kShortSum;
    Vec sums = {};
    int64_t i = from;
    for (; i + kLanes <= to; i += kLanes) {
      const Vec e = expOf(load(x + i) - all(most));
      if (kStores) store(y + i, e);
      sums += e;
    }
    if (i < to) {
      const int rest = static_cast<int>(to - i);
      const Vec e = expOf(loadPadded(x + i, rest, -__builtin_inff()) - all(most));
      if (kStores) storeSome(y + i, e, rest);
      // A row of nothing but -infinity is NaN, beyond its end too.
      for (int l = 0; l < rest; l++) total += static_cast<double>(e[l]);
    }
    total += static_cast<double>(sumOf(sums));
  }
  return total;
}

void softmax(const float* x, float* y, int64_t n) {
  const double total = exponentials<true>(x, y, n, extreme<Larger>(x, n));
  const float scale = static_cast<float>(1 / total);
  for (int64_t i = 0; i < n; i++) y[i] *= scale;
}

void logSoftmax(const float* x, float* y, int64_t n) {
  const float most = extreme<Larger>(x, n);
  const float log = logOf(all(static_cast<float>(exponentials<false>(x, y, n, most))))[0];
  for (int64_t i = 0; i < n; i++) y[i] = x[i] - most - log;
}

constexpr graft::ReduceKernels reduceKernels = {sum, extreme<Larger>, extreme<Smaller>, sumDown, extremeDown<Larger>, extremeDown<Smaller>, softmax, logSoftmax};

}  // namespace elements
}  // namespace
