// Functions of a vector, each within 4 ulp of the true value. What isn't said of NaN: it stays NaN.

namespace {
namespace elements {

inline Vec magnitude(Vec x) { return fromBits(asBits(x) & 0x7fffffff); }
inline Vec withSignOf(Vec y, Vec x) { return fromBits((asBits(y) & 0x7fffffff) | (asBits(x) & static_cast<int32_t>(0x80000000u))); }

// Rounded to the nearest whole number, for |x| < 2^22.
inline Vec wholeNearest(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (Vec)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  return nearest(x);
#endif
}

// x = 2^n m with m in [sqrt(1/2), sqrt(2)): n ln 2 and a polynomial for log(1 + (m - 1)), Cephes' coefficients.
inline Vec logOf(Vec x) {
  const IntVec subnormal = x < all(1.17549435e-38f);
  const IntVec bits = asBits(subnormal ? x * all(8388608.0f) : x);
  const IntVec exponent = (bits - 0x3f3504f3) >> 23;
  const Vec n = asFloat(exponent - (subnormal & 23));
  const Vec f = fromBits(bits - (exponent << 23)) - all(1.0f);
  const Vec z = f * f;
  Vec p = all(7.0376836292e-2f);
  p = p * f + all(-1.1514610310e-1f);
  p = p * f + all(1.1676998740e-1f);
  p = p * f + all(-1.2420140846e-1f);
  p = p * f + all(1.4249322787e-1f);
  p = p * f + all(-1.6668057665e-1f);
  p = p * f + all(2.0000714765e-1f);
  p = p * f + all(-2.4999993993e-1f);
  p = p * f + all(3.3333331174e-1f);
  Vec y = p * f * z + n * all(-2.12194440e-4f) - z * all(0.5f);
  y = f + y + n * all(0.693359375f);
  y = x == all(__builtin_inff()) ? x : y;
  y = x == all(0.0f) ? all(-__builtin_inff()) : y;
  return x >= all(0.0f) ? y : all(__builtin_nanf(""));
}

// log(1 + x), with what the sum 1 + x loses added back.
inline Vec log1pOf(Vec x) {
  const Vec u = x + all(1.0f);
  Vec y = logOf(u) + (x - (u - all(1.0f))) / u;
  y = u == all(0.0f) ? all(-__builtin_inff()) : y;
  return x == all(__builtin_inff()) ? x : y;
}

// 2^n (e^f - 1) + (2^n - 1), with x = n ln 2 + f: nothing is lost near 0.
inline Vec expm1Of(Vec x) {
  const Vec bounded = smaller(larger(x, all(-30.0f)), all(60.0f));
  const Vec n = wholeNearest(bounded * all(1.44269504088896341f));
  const Vec p = reducedExpm1Of(bounded, n);
  const Vec scale = fromBits((__builtin_convertvector(n, IntVec) + 127) << 23);
  Vec y = scale * p + (scale - all(1.0f));
  y = x > all(60.0f) ? expOf(x) : y;
  return x != x ? x : y;
}

inline Vec sigmoidOf(Vec x) { return all(1.0f) / (all(1.0f) + expOf(-x)); }

// max(x, 0) + log(1 + e^-|x|)
inline Vec softplusOf(Vec x) { return larger(x, all(0.0f)) + log1pOf(expOf(-magnitude(x))); }

// A polynomial near 0 (Cephes' coefficients), else 1 - 2 / (e^2|x| + 1).
inline Vec tanhOf(Vec x) {
  const Vec t = magnitude(x), z = x * x;
  Vec p = all(-5.70498872745e-3f);
  p = p * z + all(2.06390887954e-2f);
  p = p * z + all(-5.37397155531e-2f);
  p = p * z + all(1.33314422036e-1f);
  p = p * z + all(-3.33332819422e-1f);
  const Vec far = all(1.0f) - all(2.0f) / (expOf(t + t) + all(1.0f));
  return t < all(0.625f) ? p * z * x + x : withSignOf(far, x);
}

// For |x| < 1 x times a polynomial of x^2, else 1 - e^p(|x|); both polynomials are least-error fits, 1.4e-9 off at most. From 4 on it is 1.
inline Vec erfOf(Vec x) {
  const Vec t = smaller(magnitude(x), all(4.0f)), z = x * x;
  Vec p = all(7.889108865e-5f);
  p = p * z + all(-8.020838086e-4f);
  p = p * z + all(5.189534981e-3f);
  p = p * z + all(-2.685444441e-2f);
  p = p * z + all(1.128360017e-1f);
  p = p * z + all(-3.761262714e-1f);
  p = p * z + all(1.283791660e-1f);
  Vec q = all(1.924289783e-4f);
  q = q * t + all(-3.008564317e-3f);
  q = q * t + all(2.208774390e-2f);
  q = q * t + all(-1.036405259e-1f);
  q = q * t + all(-6.375167915e-1f);
  q = q * t + all(-1.127475109f);
  q = q * t + all(-2.446850170e-4f);
  const Vec y = t < all(1.0f) ? p * x + x : withSignOf(all(1.0f) - expOf(q), x);
  return x != x ? x : y;
}

}  // namespace elements
}  // namespace
