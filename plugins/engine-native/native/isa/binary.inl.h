// See elements.h for what each function computes.

namespace {
namespace elements {

template <class T, class Y, Y (*f)(T, T)>
void mapPairs(const T* __restrict__ a, int64_t aStep, const T* __restrict__ b, int64_t bStep, Y* __restrict__ y, int64_t n) {
  if (aStep == 1 && bStep == 1) {
    for (int64_t i = 0; i < n; i++) y[i] = f(a[i], b[i]);
  } else if (aStep == 1) {
    const T right = *b;
    for (int64_t i = 0; i < n; i++) y[i] = f(a[i], right);
  } else if (bStep == 1) {
    const T left = *a;
    for (int64_t i = 0; i < n; i++) y[i] = f(left, b[i]);
  } else {
    const Y value = f(*a, *b);
    for (int64_t i = 0; i < n; i++) y[i] = value;
  }
}

inline float plus(float a, float b) { return a + b; }
inline float minus(float a, float b) { return a - b; }
inline float times(float a, float b) { return a * b; }
inline float squaredDifference(float a, float b) { return (a - b) * (a - b); }
// NaN where either is.
inline float maximum(float a, float b) { return a > b || a != a ? a : b; }
inline float minimum(float a, float b) { return a < b || a != a ? a : b; }

// Whole numbers wrap around.
inline int32_t plusInts(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); }
inline int32_t minusInts(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b)); }
inline int32_t timesInts(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b)); }
inline int32_t squaredDifferenceInts(int32_t a, int32_t b) { return timesInts(minusInts(a, b), minusInts(a, b)); }
inline int32_t maximumInts(int32_t a, int32_t b) { return a > b ? a : b; }
inline int32_t minimumInts(int32_t a, int32_t b) { return a < b ? a : b; }

inline float quotient(float a, float b) { return a / b; }
inline float prelu(float x, float alpha) { return x < 0 ? alpha * x : x; }
// From the elu's result y: its slope is 1, or y + 1 = e^x below 0.
inline float eluGrad(float dy, float y) { return y >= 0 ? dy : dy * (y + 1); }

template <class T>
inline uint8_t isEqual(T a, T b) { return a == b; }
template <class T>
inline uint8_t isNotEqual(T a, T b) { return a != b; }
template <class T>
inline uint8_t isLess(T a, T b) { return a < b; }
template <class T>
inline uint8_t isLessEqual(T a, T b) { return a <= b; }
template <class T>
inline uint8_t isGreater(T a, T b) { return a > b; }
template <class T>
inline uint8_t isGreaterEqual(T a, T b) { return a >= b; }

constexpr graft::ArithmeticKernels<float> floatArithmetic = {
    mapPairs<float, float, plus>, mapPairs<float, float, minus>, mapPairs<float, float, times>, mapPairs<float, float, maximum>, mapPairs<float, float, minimum>, mapPairs<float, float, squaredDifference>,
};

constexpr graft::ArithmeticKernels<int32_t> intArithmetic = {
    mapPairs<int32_t, int32_t, plusInts>, mapPairs<int32_t, int32_t, minusInts>, mapPairs<int32_t, int32_t, timesInts>, mapPairs<int32_t, int32_t, maximumInts>, mapPairs<int32_t, int32_t, minimumInts>, mapPairs<int32_t, int32_t, squaredDifferenceInts>,
};

template <class T>
constexpr graft::ComparisonKernels<T> comparisonsOf() {
  return {mapPairs<T, uint8_t, isEqual<T>>, mapPairs<T, uint8_t, isNotEqual<T>>, mapPairs<T, uint8_t, isLess<T>>, mapPairs<T, uint8_t, isLessEqual<T>>, mapPairs<T, uint8_t, isGreater<T>>, mapPairs<T, uint8_t, isGreaterEqual<T>>};
}

}  // namespace elements
}  // namespace
