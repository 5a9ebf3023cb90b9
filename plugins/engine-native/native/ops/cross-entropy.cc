// The output layer with its loss: see core/tensor/ops/cross-entropy.ts, which is the definition. Logits are made for some rows and some
// classes at a time, and used up at once.
//
// Of a row with target t, let m be the largest logit of the other classes and r = sum over v != t of exp(l_v - m). With the log-odds
// against the target, x = m + log r - l_t:
//   loss = log(1 + e^x),   miss = 1 - p_t = 1 / (1 + e^-x),   dloss / dhidden = miss (sum over v != t of exp(l_v - m) W_v / r - W_t).
// Neither a small loss nor a small gradient is then a difference of large numbers, and bf16 rounds only the mean of the other rows.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "prepacked.h"
#include "registry.h"

namespace graft {

namespace {

// Logits held at once, rows by classes: 4 MiB of float32. A weight is read once for so many rows.
constexpr int64_t kRows = 512;
constexpr int64_t kClasses = 2048;

// W [classes, d]: kind 0 a frozen weight's id, 1 a tensor; then the classes.
struct OutputLayer {
  int64_t d, classes;
  const Weight* frozen = nullptr;
  const float* tensor = nullptr;
  Right across, down;

  OutputLayer(Args& args, int64_t width) : d(width) {
    if (args.integer() == 0) frozen = args.weight();
    else tensor = args.floats();
    classes = args.integer();
    across = frozen != nullptr ? Right::ofWeight(*frozen, true) : Right::ofTensor(tensor, 1, d);
    down = frozen != nullptr ? Right::ofWeight(*frozen, false) : Right::ofTensor(tensor, d, 1);
  }
  void read(const Isa& isa, int64_t row, float* out) const {
    if (frozen != nullptr) frozen->read(isa, row, 0, d, out);
    else std::memcpy(out, tensor + row * d, static_cast<size_t>(d) * 4);
  }
};

// The rows that have a target.
struct Targeted {
  std::vector<int64_t> rows;
  std::vector<int32_t> classes;

  Targeted(const int32_t* targets, int64_t tokens) {
    for (int64_t i = 0; i < tokens; i++) {
      if (targets[i] < 0) continue;
      rows.push_back(i);
      classes.push_back(targets[i]);
    }
  }
  int64_t count() const { return static_cast<int64_t>(rows.size()); }
};

// Some rows of hidden against all classes.
class Sweep {
  Runtime& rt;
  const OutputLayer& w;
  const bool bf16;

 public:
  // Rows start .. start + rows of those that have a target. Logits are made for `step` classes at a time, their rows ld apart.
  const int64_t start, rows, step, ld;

  Sweep(Runtime& runtime, const OutputLayer& layer, const float* hidden, const Targeted& targeted, int64_t from, int64_t count, bool transposes)
      : rt(runtime),
        w(layer),
        bf16(w.across.computesBf16(rt.isa)),
        start(from),
        rows(count),
        step(ceilDiv(ceilDiv(w.classes, ceilDiv(w.classes, kClasses)), rt.isa.gemm.nr) * rt.isa.gemm.nr),
        // Rows a power of two apart would share few lines of the cache.
        ld(step + 16),
        left(rt, rows, w.d, bf16) {
    const auto place = [&](int64_t row) { return targeted.rows[static_cast<size_t>(start + row)]; };
    hiddenRows = hidden + place(0) * w.d;
    if (place(rows - 1) - place(0) != rows - 1) {
      gathered.emplace(rt.scratch<float>(static_cast<size_t>(rows * w.d)));
      hiddenRows = gathered->get();
      for (int64_t i = 0; i < rows; i++) std::memcpy(gathered->get() + i * w.d, hidden + place(i) * w.d, static_cast<size_t>(w.d) * 4);
    }
    left.packAll(hiddenRows, w.d, 1);
    if (!transposes) gathered.reset();
    logits.emplace(rt.scratch<float>(static_cast<size_t>(rows * ld)));
  }

  const RowBlocks& blocks() const { return left.blocks(); }

  // For each range of classes: take(first class, classes, logits, first row, rows) on all threads, a block of rows each, which turns
  // logits into coefficients; then, where wanted, out [rows, d] += coefficients W; then done(first class, classes).
  template <class Take, class Done>
  void run(float* out, const Take& take, const Done& done) const {
    for (int64_t first = 0; first < w.classes; first += step) {
      const int64_t columns = std::min(step, w.classes - first);
      left.multiply(w.across, 0, first, columns, logits->get(), ld, false);
      std::optional<Prepacked> packed;
      if (out != nullptr) packed.emplace(rt, rows, columns, bf16);
      rt.pool.run(blocks().count(), [&](int64_t block, int) {
        float* from = logits->get() + blocks().start(block) * ld;
        take(first, columns, from, blocks().start(block), blocks().height(block));
        if (out != nullptr) packed->pack(block, from, ld, 1);
      });
      if (out != nullptr) packed->multiply(w.down, first, 0, w.d, out, w.d, first > 0);
      packed.reset();
      done(first, columns);
    }
  }

  // Where it `transposes`: dW [classes, d] of a range of classes (+)= coefficients^T hidden.
  void addTransposed(int64_t first, int64_t columns, float* dw) const {
    const Prepacked turned(rt, columns, rows, false);
    turned.packAll(logits->get(), 1, ld);
    turned.multiply(Right::ofTensor(hiddenRows, w.d, 1), 0, 0, w.d, dw + first * w.d, w.d, start > 0);
  }

 private:
  Prepacked left;
  const float* hiddenRows;
  std::optional<Scratch<float>> gathered;
  std::optional<Scratch<float>> logits;
};

template <class Use>
void eachSweep(Runtime& rt, const OutputLayer& w, const float* hidden, const Targeted& targeted, bool transposes, const Use& use) {
  const int64_t count = targeted.count(), chunks = ceilDiv(count, kRows);
  for (int64_t i = 0; i < chunks; i++) use(Sweep(rt, w, hidden, targeted, count * i / chunks, count * (i + 1) / chunks - count * i / chunks, transposes));
}

// hidden, its rows and d, W, classes, targets; out loss [rows]; and where wanted, of the R rows with a target: out directions [R, d], the
// gradient of each loss, and out statistics [3, R]: m, miss / r and miss.
void crossEntropy(Runtime& rt, Args& args) {
  const float* hidden = args.floats();
  const int64_t tokens = args.integer(), d = args.integer();
  const OutputLayer w(args, d);
  const Targeted targeted(args.ints(), tokens);
  float* loss = args.output(static_cast<size_t>(tokens));
  float* directions = args.output(static_cast<size_t>(targeted.count() * d));
  float* statistics = args.output(static_cast<size_t>(targeted.count() * 3));
  std::memset(loss, 0, static_cast<size_t>(tokens) * 4);
  const LossKernels& kernels = rt.isa.loss;
  auto targetRows = rt.scratch<float>(static_cast<size_t>(rt.pool.threads() * d));

  eachSweep(rt, w, hidden, targeted, false, [&](const Sweep& sweep) {
    const int32_t* classes = targeted.classes.data() + sweep.start;
    float* out = directions == nullptr ? nullptr : directions + sweep.start * d;
    auto kept = rt.scratch<float>(static_cast<size_t>(sweep.rows * 4));
    float *largest = kept.get(), *rest = largest + sweep.rows, *targetLogits = rest + sweep.rows, *shrinks = targetLogits + sweep.rows;
    std::fill(largest, rest, -INFINITY);
    std::fill(rest, targetLogits, 0.0f);
    const auto take = [&](int64_t first, int64_t columns, float* logits, int64_t row, int rows) {
      kernels.soften(logits, sweep.ld, rows, columns, classes + row, first, largest + row, rest + row, targetLogits + row, shrinks + row);
      if (out == nullptr || first == 0) return;
      for (int64_t i = row; i < row + rows; i++) {
        if (shrinks[i] != 1) kernels.blend(0, out + i * d, shrinks[i], out + i * d, d);
      }
    };
    sweep.run(out, take, [](int64_t, int64_t) {});
    rt.pool.ranges(sweep.rows, 8, [&](int64_t from, int64_t to, int worker) {
      for (int64_t i = from; i < to; i++) {
        const int64_t at = sweep.start + i;
        const double odds = std::log(static_cast<double>(rest[i])) + (static_cast<double>(largest[i]) - targetLogits[i]);
        loss[targeted.rows[static_cast<size_t>(at)]] = static_cast<float>(std::max(odds, 0.0) + std::log1p(std::exp(-std::fabs(odds))));
        const auto miss = static_cast<float>(1 / (1 + std::exp(-odds)));
        // Without any other class the sum is 0, and the loss too; with one it is at least 1.
        const float factor = rest[i] >= 1 ? miss / rest[i] : 0;
        if (out != nullptr) {
          float* own = targetRows.get() + worker * d;
          w.read(rt.isa, classes[i], own);
          kernels.blend(-miss, own, factor, out + i * d, d);
        }
        if (statistics != nullptr) {
          statistics[at] = largest[i];
          statistics[targeted.count() + at] = factor;
          statistics[2 * targeted.count() + at] = miss;
        }
      }
    });
  });
}

// directions [R, d], dloss [rows], targets, rows, d; out dhidden [rows, d].
void crossEntropyScaled(Runtime& rt, Args& args) {
  const float* directions = args.floats();
  const float* dloss = args.floats();
  const int32_t* targets = args.ints();
  const int64_t tokens = args.integer(), d = args.integer();
  const Targeted targeted(targets, tokens);
  float* out = args.output(static_cast<size_t>(tokens * d));
  std::memset(out, 0, static_cast<size_t>(tokens * d) * 4);
  rt.pool.ranges(targeted.count(), 8, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      const int64_t row = targeted.rows[static_cast<size_t>(i)];
      rt.isa.loss.blend(dloss[row], directions + i * d, 0, out + row * d, d);
    }
  });
}

// hidden, its rows and d, W, classes, targets, statistics, dloss [rows]; out dhidden [rows, d] (-1: not wanted) and dW [classes, d].
void crossEntropyBackward(Runtime& rt, Args& args) {
  const float* hidden = args.floats();
  const int64_t tokens = args.integer(), d = args.integer();
  const OutputLayer w(args, d);
  const Targeted targeted(args.ints(), tokens);
  const float* statistics = args.floats();
  const float* dloss = args.floats();
  float* dhidden = args.output(static_cast<size_t>(tokens * d));
  float* dw = args.output(static_cast<size_t>(w.classes * d));
  if (dhidden != nullptr) std::memset(dhidden, 0, static_cast<size_t>(tokens * d) * 4);
  const int64_t count = targeted.count();
  auto factors = rt.scratch<float>(static_cast<size_t>(2 * count));
  float* targetFactors = factors.get() + count;
  for (int64_t i = 0; i < count; i++) {
    const float scale = dloss[targeted.rows[static_cast<size_t>(i)]];
    factors[static_cast<size_t>(i)] = scale * statistics[count + i];
    targetFactors[i] = -scale * statistics[2 * count + i];
  }

  eachSweep(rt, w, hidden, targeted, true, [&](const Sweep& sweep) {
    auto sums = rt.scratch<float>(static_cast<size_t>(dhidden == nullptr ? 1 : sweep.rows * d));
    const auto take = [&](int64_t first, int64_t columns, float* logits, int64_t row, int rows) {
      const int64_t at = sweep.start + row;
      rt.isa.loss.weigh(logits, sweep.ld, rows, columns, targeted.classes.data() + at, first, statistics + at, factors.get() + at, targetFactors + at);
    };
    sweep.run(dhidden == nullptr ? nullptr : sums.get(), take, [&](int64_t first, int64_t columns) { sweep.addTransposed(first, columns, dw); });
    if (dhidden == nullptr) return;
    for (int64_t i = 0; i < sweep.rows; i++) std::memcpy(dhidden + targeted.rows[static_cast<size_t>(sweep.start + i)] * d, sums.get() + i * d, static_cast<size_t>(d) * 4);
  });
}

}  // namespace

const std::vector<NamedOperation> crossEntropyOperations = {
    {"crossEntropy", crossEntropy}, {"crossEntropyScaled", crossEntropyScaled}, {"crossEntropyBackward", crossEntropyBackward}};

}  // namespace graft
