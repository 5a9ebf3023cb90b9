// AdamW and sums of squares in double precision. AdamW rounds where JavaScript does: the same bits on every instruction set.

namespace {

constexpr int kWideLanes = kLanes / 2;
typedef double WideVec __attribute__((vector_size(kWideLanes * 8)));
typedef float NarrowVec __attribute__((vector_size(kWideLanes * 4)));

inline WideVec wide(const float* p) {
  NarrowVec v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, WideVec);
}
// Rounds to float32, stores, and gives what was stored.
inline WideVec rounded(float* p, WideVec x) {
  const NarrowVec v = __builtin_convertvector(x, NarrowVec);
  std::memcpy(p, &v, sizeof v);
  return __builtin_convertvector(v, WideVec);
}
inline WideVec allWide(double x) { return x - WideVec{}; }

// a b, rounded by itself: a compiler may not make one fused operation of it and a sum.
inline WideVec product(WideVec a, WideVec b) {
  WideVec y = a * b;
#if defined(__AVX512F__)
  asm("" : "+v"(y));
#elif defined(__x86_64__)
  asm("" : "+x"(y));
#elif defined(__aarch64__)
  asm("" : "+w"(y));
#else
  asm("" : "+m"(y));
#endif
  return y;
}

inline WideVec rootOf(WideVec x) {
#if defined(__AVX512F__)
  return (WideVec)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__)
  return (WideVec)_mm256_sqrt_pd((__m256d)x);
#else
  for (int i = 0; i < kWideLanes; i++) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}

inline void adamwVector(const float* p, const float* g, float* m, float* v, float* next, const graft::AdamWStep& step, double decayed) {
  const WideVec gradient = product(wide(g), allWide(step.scale));
  const WideVec first = rounded(m, product(allWide(step.beta1), wide(m)) + product(allWide(1 - step.beta1), gradient));
  const WideVec second = rounded(v, product(allWide(step.beta2), wide(v)) + product(product(allWide(1 - step.beta2), gradient), gradient));
  const WideVec moved = product(allWide(step.stepSize), first) / (rootOf(second) / allWide(step.correction) + allWide(step.eps));
  rounded(next, product(wide(p), allWide(decayed)) - moved);
}

void adamw(const float* p, const float* g, float* m, float* v, float* next, int64_t n, const graft::AdamWStep& step, double decayed) {
  int64_t i = 0;
  for (; i + kWideLanes <= n; i += kWideLanes) adamwVector(p + i, g + i, m + i, v + i, next + i, step, decayed);
  if (i == n) return;
  const size_t bytes = static_cast<size_t>(n - i) * 4;
  float values[4][kWideLanes] = {};
  std::memcpy(values[0], p + i, bytes);
  std::memcpy(values[1], g + i, bytes);
  std::memcpy(values[2], m + i, bytes);
  std::memcpy(values[3], v + i, bytes);
  adamwVector(values[0], values[1], values[2], values[3], values[0], step, decayed);
  std::memcpy(next + i, values[0], bytes);
  std::memcpy(m + i, values[2], bytes);
  std::memcpy(v + i, values[3], bytes);
}

double sumOfSquares(const float* x, int64_t n) {
  WideVec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWideLanes <= n; i += 4 * kWideLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const WideVec v = wide(x + i + k * kWideLanes);
      sums[k] += v * v;
    }
  }
  const WideVec together = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int lane = 0; lane < kWideLanes; lane++) sum += together[lane];
  for (; i < n; i++) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

}  // namespace
