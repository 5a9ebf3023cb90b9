// See elements.h for what each function computes.

namespace {
namespace elements {

template <Vec (*f)(Vec)>
void mapVectors(const float* x, float* y, int64_t n, float, float) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) storeSome(y + i, f(loadSome(x + i, rest)), rest);
}

template <Vec (*f)(Vec, Vec, Vec)>
void mapVectorsWith(const float* x, float* y, int64_t n, float p, float q) {
  const Vec ps = all(p), qs = all(q);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i), ps, qs));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) storeSome(y + i, f(loadSome(x + i, rest), ps, qs), rest);
}

// For what the compiler has vector instructions for.
template <float (*f)(float)>
void mapNumbers(const float* x, float* y, int64_t n, float, float) {
  for (int64_t i = 0; i < n; i++) y[i] = f(x[i]);
}

inline Vec negOf(Vec x) { return -x; }
inline Vec squareOf(Vec x) { return x * x; }
inline Vec reciprocalOf(Vec x) { return all(1.0f) / x; }
inline Vec reluOf(Vec x) { return x < all(0.0f) ? all(0.0f) : x; }
inline Vec relu6Of(Vec x) {
  const Vec y = reluOf(x);
  return y > all(6.0f) ? all(6.0f) : y;
}
inline Vec eluOf(Vec x) { return x >= all(0.0f) ? x : expm1Of(x); }
// Klambauer et al. 2017: scale, and scale times alpha.
inline Vec seluOf(Vec x) { return x >= all(0.0f) ? x * all(1.0507009873554805f) : expm1Of(x) * all(1.7580993408473766f); }
inline Vec signOf(Vec x) { return x > all(0.0f) ? all(1.0f) : (x < all(0.0f) ? all(-1.0f) : all(0.0f)); }

inline Vec leakyReluOf(Vec x, Vec alpha, Vec) { return x < all(0.0f) ? x * alpha : x; }
inline Vec stepOf(Vec x, Vec alpha, Vec) { return x != x ? x : (x > all(0.0f) ? all(1.0f) : alpha); }
inline Vec clipOf(Vec x, Vec least, Vec most) { return x > most ? most : (x < least ? least : x); }

inline float sqrtOf(float x) { return __builtin_sqrtf(x); }
inline float rsqrtOf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float floorOf(float x) { return __builtin_floorf(x); }
inline float ceilOf(float x) { return __builtin_ceilf(x); }
// Ties to even.
inline float roundOf(float x) { return __builtin_rintf(x); }

constexpr graft::UnaryKernels unaryKernels = {
    mapVectors<magnitude>, mapVectors<negOf>,     mapVectors<squareOf>,        mapVectors<reciprocalOf>, mapNumbers<sqrtOf>,    mapNumbers<rsqrtOf>,
    mapVectors<expOf>,     mapVectors<expm1Of>,   mapVectors<logOf>,           mapVectors<log1pOf>,      mapVectors<sigmoidOf>, mapVectors<tanhOf>,       mapVectors<softplusOf>, mapVectors<erfOf>,
    mapVectors<reluOf>,    mapVectors<relu6Of>,   mapVectorsWith<leakyReluOf>, mapVectors<eluOf>,        mapVectors<seluOf>,    mapVectorsWith<stepOf>,   mapVectorsWith<clipOf>,
    mapNumbers<floorOf>,   mapNumbers<ceilOf>,    mapNumbers<roundOf>,         mapVectors<signOf>,
};

}  // namespace elements
}  // namespace
