// tfjs's reductions: of the middle axis of x [outer, n, inner], to y [outer, inner]. Args of each: x, outer, n, inner; y.
#include <algorithm>
#include <cmath>

#include "registry.h"

namespace graft {

namespace {

constexpr int64_t kGrain = 32768;
// A long row is cut into parts of so many numbers, whatever the number of threads: a sum is the same with any.
constexpr int64_t kPart = 16384;

struct Middle {
  const void* x;
  int64_t outer, n, inner;
  explicit Middle(Args& args) : x(args.tensor()->data), outer(args.integer()), n(args.integer()), inner(args.integer()) {}
  // Rows that a thread takes at least.
  int64_t grain(int64_t perRow) const { return kGrain / (perRow > 0 ? perRow : 1) + 1; }
};

template <bool isMean>
void sum(Runtime& rt, Args& args) {
  const Middle m(args);
  const auto* x = static_cast<const float*>(m.x);
  float* y = args.output(static_cast<size_t>(m.outer * m.inner));
  const ReduceKernels& kernels = rt.isa.elements.reduce;
  const double scale = isMean ? 1 / static_cast<double>(m.n) : 1;
  if (m.inner == 1 && m.outer < 8 && m.n >= 2 * kPart) {
    const int64_t parts = (m.n + kPart - 1) / kPart;
    auto sums = rt.scratch<double>(static_cast<size_t>(m.outer * parts));
    rt.pool.ranges(m.outer * parts, 4, [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; i++) {
        const int64_t start = i % parts * kPart;
        sums[static_cast<size_t>(i)] = kernels.sum(x + i / parts * m.n + start, std::min(kPart, m.n - start));
      }
    });
    for (int64_t row = 0; row < m.outer; row++) {
      double total = 0;
      for (int64_t i = 0; i < parts; i++) total += sums[static_cast<size_t>(row * parts + i)];
      y[row] = static_cast<float>(total * scale);
    }
  } else if (m.inner == 1) {
    rt.pool.ranges(m.outer, m.grain(m.n), [&](int64_t from, int64_t to, int) {
      for (int64_t row = from; row < to; row++) y[row] = static_cast<float>(kernels.sum(x + row * m.n, m.n) * scale);
    });
  } else {
    const int64_t strips = (m.inner + kStripColumns - 1) / kStripColumns;
    rt.pool.ranges(m.outer * strips, m.grain(m.n * kStripColumns), [&](int64_t from, int64_t to, int) {
      double sums[kStripColumns];
      for (int64_t i = from; i < to; i++) {
        const int64_t row = i / strips, column = i % strips * kStripColumns;
        const int width = static_cast<int>(std::min<int64_t>(kStripColumns, m.inner - column));
        kernels.sumDown(x + row * m.n * m.inner + column, m.inner, m.n, width, sums);
        for (int c = 0; c < width; c++) y[row * m.inner + column + c] = static_cast<float>(sums[c] * scale);
      }
    });
  }
}

template <bool isLargest>
void extreme(Runtime& rt, Args& args) {
  const Middle m(args);
  const auto* x = static_cast<const float*>(m.x);
  float* y = args.output(static_cast<size_t>(m.outer * m.inner));
  const ReduceKernels& kernels = rt.isa.elements.reduce;
  const auto along = isLargest ? kernels.largest : kernels.smallest;
  const auto down = isLargest ? kernels.largestDown : kernels.smallestDown;
  if (m.inner == 1) {
    rt.pool.ranges(m.outer, m.grain(m.n), [&](int64_t from, int64_t to, int) {
      for (int64_t row = from; row < to; row++) y[row] = along(x + row * m.n, m.n);
    });
    return;
  }
  const int64_t strips = (m.inner + kStripColumns - 1) / kStripColumns;
  rt.pool.ranges(m.outer * strips, m.grain(m.n * kStripColumns), [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      const int64_t row = i / strips, column = i % strips * kStripColumns;
      down(x + row * m.n * m.inner + column, m.inner, m.n, static_cast<int>(std::min<int64_t>(kStripColumns, m.inner - column)), y + row * m.inner + column);
    }
  });
}

// What has no vector form. fold(x, n, step): of n numbers `step` apart.
template <class X, class Y, Y (*fold)(const X*, int64_t, int64_t)>
void plain(Runtime& rt, Args& args) {
  const Middle m(args);
  const auto* x = static_cast<const X*>(m.x);
  auto* y = static_cast<Y*>(args.outputBytes(static_cast<size_t>(m.outer * m.inner) * sizeof(Y)));
  rt.pool.ranges(m.outer * m.inner, m.grain(m.n), [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) y[i] = fold(x + i / m.inner * m.n * m.inner + i % m.inner, m.n, m.inner);
  });
}

float product(const float* x, int64_t n, int64_t step) {
  double value = 1;
  for (int64_t i = 0; i < n; i++) value *= static_cast<double>(x[i * step]);
  return static_cast<float>(value);
}
// Whole numbers wrap around.
int32_t sumInts(const int32_t* x, int64_t n, int64_t step) {
  uint32_t value = 0;
  for (int64_t i = 0; i < n; i++) value += static_cast<uint32_t>(x[i * step]);
  return static_cast<int32_t>(value);
}
int32_t productInts(const int32_t* x, int64_t n, int64_t step) {
  uint32_t value = 1;
  for (int64_t i = 0; i < n; i++) value *= static_cast<uint32_t>(x[i * step]);
  return static_cast<int32_t>(value);
}
template <bool isLargest>
int32_t extremeInts(const int32_t* x, int64_t n, int64_t step) {
  int32_t value = x[0];
  for (int64_t i = 1; i < n; i++) value = (isLargest ? x[i * step] > value : x[i * step] < value) ? x[i * step] : value;
  return value;
}
// Of n > 0 numbers the first place of the largest; a NaN is passed over, unless it is the first of all.
template <class T, bool isLargest>
int32_t place(const T* x, int64_t n, int64_t step) {
  int64_t best = 0;
  T value = x[0];
  for (int64_t i = 1; i < n; i++) {
    const T other = x[i * step];
    if (isLargest ? other > value : other < value) {
      value = other;
      best = i;
    }
  }
  return static_cast<int32_t>(best);
}
uint8_t allOf(const uint8_t* x, int64_t n, int64_t step) {
  for (int64_t i = 0; i < n; i++) {
    if (x[i * step] == 0) return 0;
  }
  return 1;
}
uint8_t anyOf(const uint8_t* x, int64_t n, int64_t step) {
  for (int64_t i = 0; i < n; i++) {
    if (x[i * step] != 0) return 1;
  }
  return 0;
}

// x, outer, n, inner, whether exclusive, whether reverse; y [outer, n, inner]
template <class T, class Wide, bool isSum>
void cumulative(Runtime& rt, Args& args) {
  const Middle m(args);
  const auto* x = static_cast<const T*>(m.x);
  const bool exclusive = args.flag(), reverse = args.flag();
  auto* y = static_cast<T*>(args.outputBytes(static_cast<size_t>(m.outer * m.n * m.inner) * sizeof(T)));
  rt.pool.ranges(m.outer * m.inner, m.grain(m.n), [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      const int64_t first = i / m.inner * m.n * m.inner + i % m.inner;
      Wide value = isSum ? 0 : 1;
      for (int64_t j = 0; j < m.n; j++) {
        const int64_t at = first + (reverse ? m.n - 1 - j : j) * m.inner;
        if (exclusive) y[at] = static_cast<T>(value);
        value = isSum ? value + static_cast<Wide>(x[at]) : value * static_cast<Wide>(x[at]);
        if (!exclusive) y[at] = static_cast<T>(value);
      }
    }
  });
}

// x, rows, n; y [rows, n]
template <void (*ReduceKernels::*kernel)(const float*, float*, int64_t)>
void rowwise(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const int64_t rows = args.integer(), n = args.integer();
  float* y = args.output(static_cast<size_t>(rows * n));
  rt.pool.ranges(rows, 4096 / (n > 0 ? n : 1) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t row = from; row < to; row++) (rt.isa.elements.reduce.*kernel)(x + row * n, y + row * n, n);
  });
}

}  // namespace

const std::vector<NamedOperation> reduceOperations = {
    {"Sum", sum<false>},
    {"Mean", sum<true>},
    {"Max", extreme<true>},
    {"Min", extreme<false>},
    {"Prod", plain<float, float, product>},
    {"ArgMax", plain<float, int32_t, place<float, true>>},
    {"ArgMin", plain<float, int32_t, place<float, false>>},
    {"SumInts", plain<int32_t, int32_t, sumInts>},
    {"MaxInts", plain<int32_t, int32_t, extremeInts<true>>},
    {"MinInts", plain<int32_t, int32_t, extremeInts<false>>},
    {"ProdInts", plain<int32_t, int32_t, productInts>},
    {"ArgMaxInts", plain<int32_t, int32_t, place<int32_t, true>>},
    {"ArgMinInts", plain<int32_t, int32_t, place<int32_t, false>>},
    {"AllBools", plain<uint8_t, uint8_t, allOf>},
    {"AnyBools", plain<uint8_t, uint8_t, anyOf>},
    {"Cumsum", cumulative<float, float, true>},
    {"CumsumInts", cumulative<int32_t, uint32_t, true>},
    {"Cumprod", cumulative<float, float, false>},
    {"CumprodInts", cumulative<int32_t, uint32_t, false>},
    {"Softmax", rowwise<&ReduceKernels::softmax>},
    {"LogSoftmax", rowwise<&ReduceKernels::logSoftmax>},
};

}  // namespace graft
