// y = x W^T + bias + sum of scale (input A^T) B^T, and its gradients: see core/tensor/ops/linear.ts, which is the definition.
#include <algorithm>
#include <vector>

#include "multiply.h"
#include "registry.h"

namespace graft {

namespace {

// A matrix operand: kind 0 a frozen weight's id, 1 a tensor's [n, k].
struct Matrix {
  const Weight* frozen = nullptr;
  const float* tensor = nullptr;

  static Matrix read(Runtime& rt, Args& args) {
    Matrix matrix;
    if (args.integer() == 0) {
      matrix.frozen = args.weight();
      const_cast<Weight*>(matrix.frozen)->pack(rt.isa, rt.pool);
    } else {
      matrix.tensor = args.floats();
    }
    return matrix;
  }
  // W^T [k, n] of W [n, k].
  Right across(int64_t k) const { return frozen != nullptr ? Right::ofWeight(*frozen, true) : Right::ofTensor(tensor, 1, k); }
  // W [n, k].
  Right down(int64_t k) const { return frozen != nullptr ? Right::ofWeight(*frozen, false) : Right::ofTensor(tensor, k, 1); }
};

// A low-rank term as its fields come: input (-1: x), its width, A [r, width], B [n, r], r, scale.
struct Term {
  const float* input;
  int64_t width;
  const float *a, *b;
  int64_t r;
  float scale;

  static Term read(Args& args, const float* x) {
    Term term{};
    term.input = args.floats();
    if (term.input == nullptr) term.input = x;
    term.width = args.integer();
    term.a = args.floats();
    term.b = args.floats();
    term.r = args.integer();
    term.scale = args.real();
    return term;
  }
};

// Rows that a thread takes of a term that is for some rows only: B is turned once for them.
constexpr int64_t kTermRows = 32;

// Multiplications that are done before another thread has begun to help.
constexpr int64_t kAloneWork = 20000;

// A term for some rows: A [r, k], B [n, r], r, scale, then first rows and counts in turn.
struct RowTerm {
  const float *a, *b;
  int64_t r;
  float scale;
  std::vector<int64_t> ranges;

  static RowTerm read(Args& args) {
    RowTerm term{};
    term.a = args.floats();
    term.b = args.floats();
    term.r = args.integer();
    term.scale = args.real();
    term.ranges = args.integers();
    return term;
  }
};

// y [m, n] += scale (x A^T) B^T in the rows of each term, as for a batch of texts with adapters of their own (Chen et al. 2023, Punica).
// Terms may share rows, so those of one row are added by one thread.
void addRowTerms(Runtime& rt, const std::vector<RowTerm>& terms, const float* x, int64_t k, float* y, int64_t n) {
  struct Piece {
    const RowTerm* term;
    int64_t row, count;
  };
  std::vector<Piece> pieces;
  int64_t most = 0, work = 0;
  for (const RowTerm& term : terms) {
    most = std::max(most, term.r);
    for (size_t i = 0; i + 1 < term.ranges.size(); i += 2) {
      const int64_t end = term.ranges[i] + term.ranges[i + 1];
      work += term.ranges[i + 1] * term.r * (k + n);
      for (int64_t row = term.ranges[i]; row < end; row += kTermRows) pieces.push_back({&term, row, std::min(kTermRows, end - row)});
    }
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.row < b.row; });
  // Pieces whose rows overlap are one piece of work.
  std::vector<size_t> groups;
  int64_t covered = -1;
  for (size_t i = 0; i < pieces.size(); i++) {
    if (i == 0 || pieces[i].row >= covered) groups.push_back(i);
    covered = std::max(covered, pieces[i].row + pieces[i].count);
  }
  groups.push_back(pieces.size());
  const int64_t roomFloats = most * (n + kTermRows);
  auto room = rt.scratch<float>(static_cast<size_t>(std::max<int64_t>(1, roomFloats * rt.pool.threads())));
  const auto addGroup = [&](int64_t group, int worker) {
    float* turned = room.get() + roomFloats * worker;
    for (size_t i = groups[static_cast<size_t>(group)]; i < groups[static_cast<size_t>(group) + 1]; i++) {
      const auto& [term, row, count] = pieces[i];
      const int64_t r = term->r;
      float* h = turned + r * n;
      rt.isa.gemm.thinRight(x + row * k, k, term->a, k, h, r, count, k, r, term->scale);
      if (count == 1 && rt.isa.gemm.thinAcrossRow(h, term->b, r, y + row * n, n)) continue;
      rt.isa.elements.transpose(reinterpret_cast<const uint32_t*>(term->b), r, reinterpret_cast<uint32_t*>(turned), n, r, n);
      for (int64_t j = 0; j < count; j++) rt.isa.gemm.thinLeft(h + j * r, 1, turned, n, y + (row + j) * n, n, r, 1, n, true);
    }
  };
  const auto count = static_cast<int64_t>(groups.size()) - 1;
  if (work > kAloneWork) return rt.pool.run(count, addGroup);
  for (int64_t group = 0; group < count; group++) addGroup(group, 0);
}

// x, m, k, matrix, n, bias, then the number of terms and for each: its fields, h out; the number of terms for some rows and these; y out.
void linear(Runtime& rt, Args& args) {
  const Buffer* x = args.tensor();
  const int64_t m = args.integer(), k = args.integer();
  const Matrix matrix = Matrix::read(rt, args);
  const int64_t n = args.integer();
  const float* bias = args.floats();
  const int64_t terms = args.integer();
  const auto* values = static_cast<const float*>(x->data);
  Added added;
  added.bias = bias;
  std::vector<Scratch<float>> kept;
  for (int64_t i = 0; i < terms; i++) {
    const Term term = Term::read(args, values);
    const int64_t r = term.r;
    float* h = args.output(static_cast<size_t>(m * r));
    kept.push_back(rt.scratch<float>(static_cast<size_t>(m * r)));
    float* scaled = kept.back().get();
    if (h == nullptr) h = scaled;
    multiplyThin(rt, term.input, m, term.width, term.a, r, h, 1);
    for (int64_t j = 0; j < m * r; j++) scaled[j] = h[j] * term.scale;
    added.products.push_back({scaled, r, r, term.b, 1, r});
  }
  std::vector<RowTerm> rowTerms;
  for (int64_t left = args.integer(); left > 0; left--) rowTerms.push_back(RowTerm::read(args));
  float* y = args.output(static_cast<size_t>(m * n));
  multiply(rt, {values, k, 1, x->serial}, matrix.across(k), m, k, n, y, n, false, added);
  if (!rowTerms.empty()) addRowTerms(rt, rowTerms, values, k, y, n);
}

// dy, m, n, x (-1 where neither dW nor dA asks for it), k, matrix, then the number of terms and for each: its fields, h, outputs dA, dB,
// whether a gradient passes, output dInput; then outputs dx, dW, dbias. -1: not wanted.
void linearBackward(Runtime& rt, Args& args) {
  const Buffer* gradient = args.tensor();
  const int64_t m = args.integer(), n = args.integer();
  const float* x = args.floats();
  const int64_t k = args.integer();
  const Matrix matrix = Matrix::read(rt, args);
  const int64_t terms = args.integer();
  const auto* dy = static_cast<const float*>(gradient->data);
  Added added;
  std::vector<Scratch<float>> kept;
  for (int64_t i = 0; i < terms; i++) {
    const Term term = Term::read(args, x);
    const int64_t r = term.r;
    const float* h = args.floats();
    float* da = args.output(static_cast<size_t>(r * term.width));
    float* db = args.output(static_cast<size_t>(n * r));
    const bool passes = args.flag();
    float* dInput = args.output(static_cast<size_t>(m * term.width));
    if (db != nullptr) multiplyThinLeft(rt, h, r, dy, m, n, db, true, term.scale);
    if (da == nullptr && !passes) continue;
    // B^T [r, n], so that both operands of u = scale dy B run along n.
    auto turned = rt.scratch<float>(static_cast<size_t>(r * n));
    for (int64_t j = 0; j < n; j++) {
      for (int64_t l = 0; l < r; l++) turned[static_cast<size_t>(l * n + j)] = term.b[j * r + l];
    }
    kept.push_back(rt.scratch<float>(static_cast<size_t>(m * r)));
    float* u = kept.back().get();
    multiplyThin(rt, dy, m, n, turned.get(), r, u, term.scale);
    if (da != nullptr) multiplyThinLeft(rt, u, r, term.input, m, term.width, da, false, 1);
    if (!passes) continue;
    if (dInput != nullptr) multiply(rt, {u, r, 1, 0}, Right::ofTensor(term.a, term.width, 1), m, r, term.width, dInput, term.width, false);
    else added.products.push_back({u, r, r, term.a, term.width, 1});
  }
  float* dx = args.output(static_cast<size_t>(m * k));
  float* dw = args.output(static_cast<size_t>(n * k));
  float* dbias = args.output(static_cast<size_t>(n));
  if (dx != nullptr) multiply(rt, {dy, n, 1, gradient->serial}, matrix.down(k), m, n, k, dx, k, false, added);
  if (dw != nullptr) multiply(rt, {dy, 1, n, 0}, Right::ofTensor(x, k, 1), n, m, k, dw, k, false);
  if (dbias != nullptr) {
    auto ones = rt.scratch<float>(static_cast<size_t>(m));
    for (int64_t i = 0; i < m; i++) ones[static_cast<size_t>(i)] = 1;
    multiplyThinLeft(rt, ones.get(), 1, dy, m, n, dbias, false, 1);
  }
}

// a, its row and column strides, b, its row and column strides, m, k, n, batches, batch strides of a and b, c out. A batch stride of 0 is
// one matrix for all.
void matMul(Runtime& rt, Args& args) {
  const Buffer* a = args.tensor();
  const int64_t aRows = args.integer(), aColumns = args.integer();
  const Buffer* b = args.tensor();
  const int64_t bRows = args.integer(), bColumns = args.integer();
  const int64_t m = args.integer(), k = args.integer(), n = args.integer();
  const int64_t batches = args.integer(), aBatch = args.integer(), bBatch = args.integer();
  float* c = args.output(static_cast<size_t>(batches * m * n));
  for (int64_t i = 0; i < batches; i++) {
    const Left left{static_cast<const float*>(a->data) + i * aBatch, aRows, aColumns, 0};
    multiply(rt, left, Right::ofTensor(static_cast<const float*>(b->data) + i * bBatch, bRows, bColumns), m, k, n, c + i * m * n, n, false);
  }
}

}  // namespace

const std::vector<NamedOperation> linearOperations = {{"linear", linear}, {"linearBackward", linearBackward}, {"matMul", matMul}};

}  // namespace graft
