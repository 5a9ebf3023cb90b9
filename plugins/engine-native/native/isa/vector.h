// The vector of an instruction set: included by the kernel sources, which are compiled once a set. Everything here has
// internal linkage: code compiled for one set must never be linked into another.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t WordVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfVec __attribute__((vector_size(kLanes * 2)));

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline IntVec loadInt(const int32_t* p) {
  IntVec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline HalfVec loadHalf(const uint16_t* p) {
  HalfVec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void storeHalf(uint16_t* p, HalfVec v) { std::memcpy(p, &v, sizeof v); }

inline Vec all(float x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (Vec)_mm256_set1_ps(x);
#else
  return Vec{x, x, x, x};
#endif
}
inline IntVec allInt(int32_t x) { return x - IntVec{}; }

// The first `count` lanes; the others 0. count <= kLanes.
inline Vec loadSome(const float* p, int count) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#else
  Vec v = {};
  std::memcpy(&v, p, static_cast<size_t>(count) * 4);
  return v;
#endif
}
inline void storeSome(float* p, Vec v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#else
  std::memcpy(p, &v, static_cast<size_t>(count) * 4);
#endif
}

inline float sumOf(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float sum = 0;
  for (int i = 0; i < kLanes; i++) sum += v[i];
  return sum;
#endif
}
inline float largestOf(Vec v) {
  float most = v[0];
  for (int i = 1; i < kLanes; i++) most = v[i] > most ? v[i] : most;
  return most;
}
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
inline Vec asFloat(IntVec v) { return __builtin_convertvector(v, Vec); }
inline IntVec asBits(Vec v) { return (IntVec)v; }
inline Vec fromBits(IntVec v) { return (Vec)v; }

// Rounded to the nearest whole number, for |x| < 2^22.
inline Vec nearest(Vec x) {
  const Vec magic = all(12582912.0f);
  Vec y = x + magic;
  // Keeps the compiler from folding the sum away.
  asm volatile("" : "+m"(y));
  return y - magic;
}

// x and n -> e^x 2^-n - 1, where n is the whole number nearest to x / ln 2.
inline Vec reducedExpm1Of(Vec x, Vec n) {
  Vec f = x - n * all(0.693359375f);
  f = f - n * all(-2.12194440e-4f);
  Vec p = all(1.9875691500e-4f);
  p = p * f + all(1.3981999507e-3f);
  p = p * f + all(8.3334519073e-3f);
  p = p * f + all(4.1665795894e-2f);
  p = p * f + all(1.6666665459e-1f);
  p = p * f + all(5.0000001201e-1f);
  return p * f * f + f;
}

// e^x to about 1 ulp: x = n ln 2 + f, a polynomial for e^f (Cephes' coefficients), and 2^n put into the exponent. Below -87.3 it
// is 0, above 88.7 infinity; NaN stays NaN.
inline Vec expOf(Vec x) {
#if defined(__AVX512F__)
  const Vec n = (Vec)_mm512_roundscale_ps((__m512)(x * all(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Vec bounded = smaller(larger(x, all(-88.0f)), all(89.0f));
  const Vec n = nearest(bounded * all(1.44269504088896341f));
#endif
  const Vec p = reducedExpm1Of(x, n) + all(1.0f);
#if defined(__AVX512F__)
  Vec y = (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
  y = x < all(-87.33654f) ? all(0.0f) : y;
  return x > all(88.72283f) ? all(__builtin_inff()) : y;
#else
  // In two halves: 2^n alone may be beyond the largest exponent.
  const IntVec whole = __builtin_convertvector(n, IntVec);
  const IntVec half = whole >> 1;
  Vec y = p * fromBits((half + 127) << 23) * fromBits((whole - half + 127) << 23);
  y = x < all(-87.33654f) ? all(0.0f) : y;
  y = x > all(88.72283f) ? all(__builtin_inff()) : y;
  return x != x ? x : y;
#endif
}

inline float bf16ToFloat(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline uint16_t floatToBf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
inline Vec widen(HalfVec h) { return (Vec)(__builtin_convertvector(h, WordVec) << 16); }
// To nearest, ties to even.
inline HalfVec narrow(Vec v) {
#if defined(__AVX512BF16__)
  return (HalfVec)_mm512_cvtneps_pbh((__m512)v);
#else
  const WordVec bits = (WordVec)v;
  const WordVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const WordVec quiet = (bits >> 16) | 0x40u;
  const WordVec isNan = (WordVec)((bits & 0x7fffffffu) > 0x7f800000u);
  return __builtin_convertvector((quiet & isNan) | (rounded & ~isNan), HalfVec);
#endif
}

}  // namespace
