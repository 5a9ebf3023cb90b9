// See rows.h for what each function computes.
#include "adamw.inl.h"

namespace {

// How a whole vector and the lanes that are left at a row's end are read and written.
struct WholeVectors {
  Vec read(const float* p) const { return load(p); }
  void write(float* p, Vec v) const { store(p, v); }
};
struct SomeLanes {
  int count;
  Vec read(const float* p) const { return loadSome(p, count); }
  void write(float* p, Vec v) const { storeSome(p, v, count); }
};

// Calls body(i, lanes) for every vector of [0, n).
template <class Body>
inline void overVectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, WholeVectors{});
  if (i < n) body(i, SomeLanes{static_cast<int>(n - i)});
}

// The sum of term(i, lanes) over [0, n), in four sums that do not wait for each other.
template <class Term>
inline float sumOver(int64_t n, const Term& term) {
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) sums[k] += term(i + k * kLanes, WholeVectors{});
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += term(i, WholeVectors{});
  if (i < n) sums[1] += term(i, SomeLanes{static_cast<int>(n - i)});
  return sumOf((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void rmsNorm(const float* x, const float* w, float* y, float* r, int64_t rows, int64_t size, float eps) {
  for (int64_t row = 0; row < rows; row++, x += size, y += size) {
    const float squares = sumOver(size, [&](int64_t i, auto lanes) {
      const Vec v = lanes.read(x + i);
      return v * v;
    });
    const float scale = 1 / __builtin_sqrtf(squares / static_cast<float>(size) + eps);
    if (r != nullptr) r[row] = scale;
    overVectors(size, [&](int64_t i, auto lanes) { lanes.write(y + i, lanes.read(x + i) * all(scale) * lanes.read(w + i)); });
  }
}

void rmsNormBackward(const float* dy, const float* x, const float* w, const float* r, float* dx, float* dw, int64_t rows, int64_t size) {
  for (int64_t row = 0; row < rows; row++, x += size, dy += size) {
    const Vec scale = all(r[row]);
    if (dx == nullptr) {
      if (dw != nullptr) overVectors(size, [&](int64_t i, auto lanes) { lanes.write(dw + i, lanes.read(dw + i) + lanes.read(dy + i) * lanes.read(x + i) * scale); });
      continue;
    }
    const float along = sumOver(size, [&](int64_t i, auto lanes) { return lanes.read(dy + i) * lanes.read(w + i) * lanes.read(x + i); });
    const Vec pull = all(along / static_cast<float>(size) * r[row] * r[row]);
    float* to = dx + row * size;
    overVectors(size, [&](int64_t i, auto lanes) {
      const Vec d = lanes.read(dy + i), v = lanes.read(x + i);
      lanes.write(to + i, scale * (d * lanes.read(w + i) - v * pull));
      if (dw != nullptr) lanes.write(dw + i, lanes.read(dw + i) + d * v * scale);
    });
  }
}

void rope(const float* x, const float* cos, const float* sin, float* y, int64_t tokens, int64_t heads, int64_t half, float sign) {
  for (int64_t token = 0; token < tokens; token++, cos += half, sin += half) {
    for (int64_t head = 0; head < heads; head++, x += 2 * half, y += 2 * half) {
      overVectors(half, [&](int64_t i, auto lanes) {
        const Vec c = lanes.read(cos + i), s = lanes.read(sin + i) * all(sign);
        const Vec first = lanes.read(x + i), second = lanes.read(x + half + i);
        lanes.write(y + i, first * c - second * s);
        lanes.write(y + half + i, second * c + first * s);
      });
    }
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t n) {
  overVectors(n, [&](int64_t i, auto lanes) {
    const Vec g = lanes.read(gate + i);
    lanes.write(y + i, g * elements::sigmoidOf(g) * lanes.read(up + i));
  });
}

void swigluBackward(const float* dy, const float* gate, const float* up, float* dgate, float* dup, int64_t n) {
  overVectors(n, [&](int64_t i, auto lanes) {
    const Vec d = lanes.read(dy + i), g = lanes.read(gate + i);
    const Vec s = elements::sigmoidOf(g);
    const Vec silu = g * s;
    if (dup != nullptr) lanes.write(dup + i, d * silu);
    if (dgate != nullptr) lanes.write(dgate + i, d * lanes.read(up + i) * (s + silu * (all(1.0f) - s)));
  });
}

// `mix` and `bitsAt` of core/tensor/rng.ts.
inline WordVec mixed(WordVec x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}
inline WordVec bitsAt(WordVec counter, uint32_t low, uint32_t high) { return mixed(mixed(counter * 0x9e3779b9u + low) ^ high); }

void dropout(const float* x, float* y, int64_t n, uint32_t first, uint32_t low, uint32_t high, uint32_t threshold, float kept) {
  WordVec counter;
  for (int i = 0; i < kLanes; i++) counter[i] = first + static_cast<uint32_t>(i);
  const WordVec least = threshold - WordVec{};
  overVectors(n, [&](int64_t i, auto lanes) {
    const Vec scale = bitsAt(counter, low, high) >= least ? all(kept) : all(0.0f);
    lanes.write(y + i, lanes.read(x + i) * scale);
    counter += static_cast<uint32_t>(kLanes);
  });
}

const graft::RowKernels rowsKernels = {rmsNorm, rmsNormBackward, rope, swiglu, swigluBackward, dropout, sumOfSquares, adamw};

}  // namespace
