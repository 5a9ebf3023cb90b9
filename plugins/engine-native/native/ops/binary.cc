// tfjs's operations of two tensors, element by element, with broadcasting. Args of each: rank and shape of a, rank and shape of b, a, b; y
// in the broadcast shape.
#include <cmath>

#include "axes.h"
#include "numbers.h"
#include "registry.h"

namespace graft {

namespace {

constexpr int64_t kCheap = 32768;
constexpr int64_t kDear = 1024;

// The axes of a result, merged as far as both operands allow, with the operands' steps: 0 where an operand has one element along an axis.
struct Broadcast {
  int rank = 0;
  int64_t size[kMostAxes], aStep[kMostAxes], bStep[kMostAxes];
  int64_t elements = 1;

  Broadcast(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    const size_t axes = a.size() > b.size() ? a.size() : b.size();
    if (axes > kMostAxes) throw std::runtime_error("tensors of more than 8 axes are not computed with");
    int64_t aAt = 1, bAt = 1;
    // From the last axis to the first; turned around at the end.
    for (size_t i = 1; i <= axes; i++) {
      const int64_t na = i <= a.size() ? a[a.size() - i] : 1, nb = i <= b.size() ? b[b.size() - i] : 1;
      if (na != nb && na != 1 && nb != 1) throw std::runtime_error("shapes do not broadcast");
      const int64_t n = na == 1 ? nb : na;
      add(n, na == 1 ? 0 : aAt, nb == 1 ? 0 : bAt);
      aAt *= na;
      bAt *= nb;
      elements *= n;
    }
    for (int i = 0; i < rank / 2; i++) {
      std::swap(size[i], size[rank - 1 - i]);
      std::swap(aStep[i], aStep[rank - 1 - i]);
      std::swap(bStep[i], bStep[rank - 1 - i]);
    }
    if (rank == 0) add(1, 1, 1);
  }

 private:
  void add(int64_t n, int64_t a, int64_t b) {
    if (n == 1 && (rank > 0 || a + b == 0)) return;
    if (rank > 0 && a == aStep[rank - 1] * size[rank - 1] && b == bStep[rank - 1] * size[rank - 1]) {
      size[rank - 1] *= n;
      return;
    }
    size[rank] = n;
    aStep[rank] = a;
    bStep[rank++] = b;
  }
};

template <class T, class Y>
void compute(Runtime& rt, Args& args, BinaryKernel<T, Y> kernel, int64_t grain) {
  const auto aShape = args.integers(), bShape = args.integers();
  const Broadcast broadcast(aShape, bShape);
  const auto* a = static_cast<const T*>(args.tensor()->data);
  const auto* b = static_cast<const T*>(args.tensor()->data);
  auto* y = static_cast<Y*>(args.outputBytes(static_cast<size_t>(broadcast.elements) * sizeof(Y)));
  if (broadcast.elements == 0) return;
  const int last = broadcast.rank - 1;
  const int64_t n = broadcast.size[last], aStep = broadcast.aStep[last], bStep = broadcast.bStep[last];
  if (last == 0) {
    rt.pool.ranges(n, grain, [&](int64_t from, int64_t to, int) { kernel(a + from * aStep, aStep, b + from * bStep, bStep, y + from, to - from); });
    return;
  }
  rt.pool.ranges(broadcast.elements / n, grain / n + 1, [&](int64_t from, int64_t to, int) {
    Odometer<2> at(last, broadcast.size, {broadcast.aStep, broadcast.bStep}, from);
    for (int64_t row = from; row < to; row++, at.next()) kernel(a + at.offset[0], aStep, b + at.offset[1], bStep, y + row * n, n);
  });
}

template <BinaryKernel<float, float> ArithmeticKernels<float>::*kernel>
void floats(Runtime& rt, Args& args) { compute<float, float>(rt, args, rt.isa.elements.floats.*kernel, kCheap); }
template <BinaryKernel<int32_t, int32_t> ArithmeticKernels<int32_t>::*kernel>
void ints(Runtime& rt, Args& args) { compute<int32_t, int32_t>(rt, args, rt.isa.elements.ints.*kernel, kCheap); }
template <BinaryKernel<float, float> ElementKernels::*kernel>
void more(Runtime& rt, Args& args) { compute<float, float>(rt, args, rt.isa.elements.*kernel, kCheap); }
template <BinaryKernel<float, uint8_t> ComparisonKernels<float>::*kernel>
void compareFloats(Runtime& rt, Args& args) { compute<float, uint8_t>(rt, args, rt.isa.elements.compareFloats.*kernel, kCheap); }
template <BinaryKernel<int32_t, uint8_t> ComparisonKernels<int32_t>::*kernel>
void compareInts(Runtime& rt, Args& args) { compute<int32_t, uint8_t>(rt, args, rt.isa.elements.compareInts.*kernel, kCheap); }
template <BinaryKernel<uint8_t, uint8_t> ComparisonKernels<uint8_t>::*kernel>
void compareBools(Runtime& rt, Args& args) { compute<uint8_t, uint8_t>(rt, args, rt.isa.elements.compareBools.*kernel, kCheap); }

// In float64 and rounded once, as tfjs's cpu backend has it.
template <class T, class Y, Y (*f)(T, T)>
void each(const T* a, int64_t aStep, const T* b, int64_t bStep, Y* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = f(a[i * aStep], b[i * bStep]);
}
template <class T, class Y, Y (*f)(T, T)>
void precise(Runtime& rt, Args& args) { compute<T, Y>(rt, args, each<T, Y, f>, kDear); }

// The sign is the divisor's, so that a = floor(a / b) b + mod(a, b).
double remainder(double a, double b) {
  const double rest = std::fmod(a, b);
  return (a < 0 && b < 0) || (a >= 0 && b >= 0) ? rest : std::fmod(rest + b, b);
}
float mod(float a, float b) { return static_cast<float>(remainder(static_cast<double>(a), static_cast<double>(b))); }
int32_t modInts(int32_t a, int32_t b) { return wrapped(remainder(a, b)); }
int32_t floorDiv(float a, float b) { return wrapped(std::floor(static_cast<double>(a) / static_cast<double>(b))); }
int32_t floorDivInts(int32_t a, int32_t b) { return wrapped(std::floor(static_cast<double>(a) / static_cast<double>(b))); }
float atan2Of(float a, float b) { return static_cast<float>(std::atan2(static_cast<double>(a), static_cast<double>(b))); }
uint8_t both(uint8_t a, uint8_t b) { return a != 0 && b != 0; }
uint8_t either(uint8_t a, uint8_t b) { return a != 0 || b != 0; }

// JavaScript's: unlike in C, 1^NaN and (-1)^infinity are NaN.
float power(float a, float b) {
  if (std::isnan(b) || (std::isinf(b) && std::fabs(a) == 1)) return NAN;
  return static_cast<float>(std::pow(static_cast<double>(a), static_cast<double>(b)));
}
void powers(const float* a, int64_t aStep, const float* b, int64_t bStep, float* y, int64_t n) {
  const bool isCube = bStep == 0 && *b == 3, isSquare = bStep == 0 && *b == 2;
  if (!isCube && !isSquare) return each<float, float, power>(a, aStep, b, bStep, y, n);
  for (int64_t i = 0; i < n; i++) {
    const double x = static_cast<double>(a[i * aStep]);
    y[i] = static_cast<float>(isCube ? x * x * x : x * x);
  }
}
void pow(Runtime& rt, Args& args) { compute<float, float>(rt, args, powers, kDear); }

using F = ArithmeticKernels<float>;
using I = ArithmeticKernels<int32_t>;
using CF = ComparisonKernels<float>;
using CI = ComparisonKernels<int32_t>;
using CB = ComparisonKernels<uint8_t>;

}  // namespace

const std::vector<NamedOperation> binaryOperations = {
    {"Add", floats<&F::add>},
    {"Sub", floats<&F::sub>},
    {"Multiply", floats<&F::multiply>},
    {"Maximum", floats<&F::maximum>},
    {"Minimum", floats<&F::minimum>},
    {"SquaredDifference", floats<&F::squaredDifference>},
    {"AddInts", ints<&I::add>},
    {"SubInts", ints<&I::sub>},
    {"MultiplyInts", ints<&I::multiply>},
    {"MaximumInts", ints<&I::maximum>},
    {"MinimumInts", ints<&I::minimum>},
    {"SquaredDifferenceInts", ints<&I::squaredDifference>},
    {"RealDiv", more<&ElementKernels::realDiv>},
    {"Prelu", more<&ElementKernels::prelu>},
    {"EluGrad", more<&ElementKernels::eluGrad>},
    {"Equal", compareFloats<&CF::equal>},
    {"NotEqual", compareFloats<&CF::notEqual>},
    {"Less", compareFloats<&CF::less>},
    {"LessEqual", compareFloats<&CF::lessEqual>},
    {"Greater", compareFloats<&CF::greater>},
    {"GreaterEqual", compareFloats<&CF::greaterEqual>},
    {"EqualInts", compareInts<&CI::equal>},
    {"NotEqualInts", compareInts<&CI::notEqual>},
    {"LessInts", compareInts<&CI::less>},
    {"LessEqualInts", compareInts<&CI::lessEqual>},
    {"GreaterInts", compareInts<&CI::greater>},
    {"GreaterEqualInts", compareInts<&CI::greaterEqual>},
    {"EqualBools", compareBools<&CB::equal>},
    {"NotEqualBools", compareBools<&CB::notEqual>},
    {"LessBools", compareBools<&CB::less>},
    {"LessEqualBools", compareBools<&CB::lessEqual>},
    {"GreaterBools", compareBools<&CB::greater>},
    {"GreaterEqualBools", compareBools<&CB::greaterEqual>},
    {"LogicalAndBools", precise<uint8_t, uint8_t, both>},
    {"LogicalOrBools", precise<uint8_t, uint8_t, either>},
    {"Mod", precise<float, float, mod>},
    {"ModInts", precise<int32_t, int32_t, modInts>},
    {"FloorDiv", precise<float, int32_t, floorDiv>},
    {"FloorDivInts", precise<int32_t, int32_t, floorDivInts>},
    {"Atan2", precise<float, float, atan2Of>},
    {"Pow", pow},
};

}  // namespace graft
