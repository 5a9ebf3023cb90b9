// Kernels that go element by element, along rows or between layouts: what tfjs's own operations are made of.
#pragma once
#include <cstdint>

namespace graft {

// y[i] = f(x[i]); p and q are what the operation is given beside its tensor.
using UnaryKernel = void (*)(const float* x, float* y, int64_t n, float p, float q);

struct UnaryKernels {
  UnaryKernel abs, neg, square, reciprocal, sqrt, rsqrt;
  UnaryKernel exp, expm1, log, log1p, sigmoid, tanh, softplus, erf;
  UnaryKernel relu, relu6, leakyRelu, elu, selu, step, clip;
  UnaryKernel floor, ceil, round, sign;
};

// y[i] = f(a[i aStep], b[i bStep]); a step is 1, or 0 for one number all along.
template <class T, class Y>
using BinaryKernel = void (*)(const T* a, int64_t aStep, const T* b, int64_t bStep, Y* y, int64_t n);

template <class T>
struct ArithmeticKernels {
  BinaryKernel<T, T> add, sub, multiply, maximum, minimum, squaredDifference;
};

template <class T>
struct ComparisonKernels {
  BinaryKernel<T, uint8_t> equal, notEqual, less, lessEqual, greater, greaterEqual;
};

// Columns that a `down` kernel is given at most.
constexpr int kStripColumns = 64;

struct ReduceKernels {
  double (*sum)(const float* x, int64_t n);
  // NaN where one is among them.
  float (*largest)(const float* x, int64_t n);
  float (*smallest)(const float* x, int64_t n);
  // Of each column of x [rows, columns], rows ld apart.
  void (*sumDown)(const float* x, int64_t ld, int64_t rows, int columns, double* out);
  void (*largestDown)(const float* x, int64_t ld, int64_t rows, int columns, float* out);
  void (*smallestDown)(const float* x, int64_t ld, int64_t rows, int columns, float* out);
  // One row: e^(x - max) / sum, and x - max - log(sum).
  void (*softmax)(const float* x, float* y, int64_t n);
  void (*logSoftmax)(const float* x, float* y, int64_t n);
};

struct ElementKernels {
  UnaryKernels unary;
  ArithmeticKernels<float> floats;
  ArithmeticKernels<int32_t> ints;
  BinaryKernel<float, float> realDiv, prelu, eluGrad;
  ComparisonKernels<float> compareFloats;
  ComparisonKernels<int32_t> compareInts;
  ComparisonKernels<uint8_t> compareBools;
  ReduceKernels reduce;
  // y [rows, columns], rows ldy apart, = the transpose of x [columns, rows], rows ldx apart; of 4-byte words.
  void (*transpose)(const uint32_t* x, int64_t ldx, uint32_t* y, int64_t ldy, int64_t rows, int64_t columns);
};

}  // namespace graft
