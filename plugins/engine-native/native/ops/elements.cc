// tfjs's operations of one tensor, element by element; the names are tfjs's, with `Ints` behind for int32 and `Bools` for bool.
#include <cmath>
#include <cstring>

#include "numbers.h"
#include "registry.h"

namespace graft {

namespace {

// Elements that a thread takes at least: of cheap arithmetic, and of what costs some nanoseconds each.
constexpr int64_t kCheap = 32768;
constexpr int64_t kDear = 2048;

// x, n, y; then p and q where the operation is given them.
template <UnaryKernel UnaryKernels::*kernel, int64_t grain = kCheap>
void unary(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const int64_t n = args.integer();
  float* y = args.output(static_cast<size_t>(n));
  const float p = args.left() > 0 ? args.real() : 0, q = args.left() > 0 ? args.real() : 0;
  rt.pool.ranges(n, grain, [&](int64_t from, int64_t to, int) { (rt.isa.elements.unary.*kernel)(x + from, y + from, to - from, p, q); });
}

// The same of any types, without vectors. f(x, p, q).
template <class X, class Y, Y (*f)(X, double, double), int64_t grain = kCheap>
void plain(Runtime& rt, Args& args) {
  const auto* x = static_cast<const X*>(args.tensor()->data);
  const int64_t n = args.integer();
  auto* y = static_cast<Y*>(args.outputBytes(static_cast<size_t>(n) * sizeof(Y)));
  const double p = args.left() > 0 ? args.number() : 0, q = args.left() > 0 ? args.number() : 0;
  rt.pool.ranges(n, grain, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) y[i] = f(x[i], p, q);
  });
}

template <double (*f)(double)>
float rounded(float x, double, double) { return static_cast<float>(f(static_cast<double>(x))); }
template <double (*f)(double)>
constexpr Operation precise = plain<float, float, rounded<f>, kDear>;

uint8_t isNan(float x, double, double) { return std::isnan(x); }
uint8_t isInf(float x, double, double) { return std::isinf(x); }
uint8_t isFinite(float x, double, double) { return std::isfinite(x); }
uint8_t isZero(uint8_t x, double, double) { return x == 0; }

int32_t absInt(int32_t x, double, double) { return x < 0 ? static_cast<int32_t>(0u - static_cast<uint32_t>(x)) : x; }
int32_t negInt(int32_t x, double, double) { return static_cast<int32_t>(0u - static_cast<uint32_t>(x)); }
int32_t squareInt(int32_t x, double, double) { return static_cast<int32_t>(static_cast<uint32_t>(x) * static_cast<uint32_t>(x)); }
int32_t signInt(int32_t x, double, double) { return (x > 0) - (x < 0); }
int32_t reluInt(int32_t x, double, double) { return x < 0 ? 0 : x; }
int32_t clipInt(int32_t x, double least, double most) { return x > most ? wrapped(most) : x < least ? wrapped(least) : x; }

template <class X, class Y>
Y converted(X x, double, double) { return static_cast<Y>(x); }
template <class X>
uint8_t isNotZero(X x, double, double) { return x != 0; }
int32_t truncated(float x, double, double) { return wrapped(static_cast<double>(x)); }

// value, bytes of an element, n, y
void fill(Runtime& rt, Args& args) {
  const double value = args.number();
  const bool isFloat = args.flag();
  const int64_t size = args.integer(), n = args.integer();
  void* y = args.outputBytes(static_cast<size_t>(n * size));
  if (size == 1) {
    std::memset(y, wrapped(value), static_cast<size_t>(n));
    return;
  }
  const float real = static_cast<float>(value);
  uint32_t word = static_cast<uint32_t>(isFloat ? 0 : wrapped(value));
  if (isFloat) std::memcpy(&word, &real, 4);
  rt.pool.ranges(n, kCheap, [&](int64_t from, int64_t to, int) {
    auto* words = static_cast<uint32_t*>(y);
    for (int64_t i = from; i < to; i++) words[i] = word;
  });
}

// Count of the tensors, n, tensors; y
void addN(Runtime& rt, Args& args) {
  const int64_t count = args.integer(), n = args.integer();
  auto terms = rt.scratch<const float*>(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) terms[static_cast<size_t>(i)] = args.floats();
  float* y = args.output(static_cast<size_t>(n));
  rt.pool.ranges(n, kCheap / count + 1, [&](int64_t from, int64_t to, int) {
    std::memcpy(y + from, terms[0] + from, static_cast<size_t>(to - from) * 4);
    for (int64_t i = 1; i < count; i++) {
      const float* x = terms[static_cast<size_t>(i)];
      for (int64_t j = from; j < to; j++) y[j] += x[j];
    }
  });
}

using U = UnaryKernels;

}  // namespace

const std::vector<NamedOperation> elementOperations = {
    {"Abs", unary<&U::abs>},
    {"Neg", unary<&U::neg>},
    {"Square", unary<&U::square>},
    {"Reciprocal", unary<&U::reciprocal>},
    {"Sqrt", unary<&U::sqrt>},
    {"Rsqrt", unary<&U::rsqrt>},
    {"Exp", unary<&U::exp, kDear * 4>},
    {"Expm1", unary<&U::expm1, kDear * 4>},
    {"Log", unary<&U::log, kDear * 4>},
    {"Log1p", unary<&U::log1p, kDear * 4>},
    {"Sigmoid", unary<&U::sigmoid, kDear * 4>},
    {"Tanh", unary<&U::tanh, kDear * 4>},
    {"Softplus", unary<&U::softplus, kDear * 4>},
    {"Erf", unary<&U::erf, kDear * 4>},
    {"Relu", unary<&U::relu>},
    {"Relu6", unary<&U::relu6>},
    {"LeakyRelu", unary<&U::leakyRelu>},
    {"Elu", unary<&U::elu, kDear * 4>},
    {"Selu", unary<&U::selu, kDear * 4>},
    {"Step", unary<&U::step>},
    {"ClipByValue", unary<&U::clip>},
    {"Floor", unary<&U::floor>},
    {"Ceil", unary<&U::ceil>},
    {"Round", unary<&U::round>},
    {"Sign", unary<&U::sign>},
    {"Sin", precise<std::sin>},
    {"Cos", precise<std::cos>},
    {"Tan", precise<std::tan>},
    {"Asin", precise<std::asin>},
    {"Acos", precise<std::acos>},
    {"Atan", precise<std::atan>},
    {"Sinh", precise<std::sinh>},
    {"Cosh", precise<std::cosh>},
    {"Asinh", precise<std::asinh>},
    {"Acosh", precise<std::acosh>},
    {"Atanh", precise<std::atanh>},
    {"IsNan", plain<float, uint8_t, isNan>},
    {"IsInf", plain<float, uint8_t, isInf>},
    {"IsFinite", plain<float, uint8_t, isFinite>},
    {"LogicalNotBools", plain<uint8_t, uint8_t, isZero>},
    {"AbsInts", plain<int32_t, int32_t, absInt>},
    {"NegInts", plain<int32_t, int32_t, negInt>},
    {"SquareInts", plain<int32_t, int32_t, squareInt>},
    {"SignInts", plain<int32_t, int32_t, signInt>},
    {"ReluInts", plain<int32_t, int32_t, reluInt>},
    {"ClipByValueInts", plain<int32_t, int32_t, clipInt>},
    {"CastToInts", plain<float, int32_t, truncated>},
    {"CastToBools", plain<float, uint8_t, isNotZero<float>>},
    {"CastIntsTo", plain<int32_t, float, converted<int32_t, float>>},
    {"CastIntsToBools", plain<int32_t, uint8_t, isNotZero<int32_t>>},
    {"CastBoolsTo", plain<uint8_t, float, converted<uint8_t, float>>},
    {"CastBoolsToInts", plain<uint8_t, int32_t, converted<uint8_t, int32_t>>},
    {"Fill", fill},
    {"AddN", addN},
};

}  // namespace graft
