// See loss.h for what each function computes.

namespace {

// x = factor * exp(x - origin); the sum of what x becomes.
inline float exponentiate(float* x, int64_t columns, float origin, float factor) {
  const Vec from = all(origin), by = all(factor);
  Vec sum = {};
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    const Vec e = by * expOf(load(x + j) - from);
    store(x + j, e);
    sum += e;
  }
  if (j < columns) {
    const int count = static_cast<int>(columns - j);
    storeSome(x + j, by * expOf(loadSome(x + j, count) - from), count);
    sum += loadSome(x + j, count);
  }
  return sumOf(sum);
}

inline float largestIn(const float* x, int64_t columns, float atLeast) {
  Vec most = all(atLeast);
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) most = larger(load(x + j), most);
  float largest = largestOf(most);
  for (; j < columns; j++) largest = x[j] > largest ? x[j] : largest;
  return largest;
}

void soften(float* x, int64_t ld, int rows, int64_t columns, const int32_t* targets, int64_t first, float* largest, float* rest, float* targetLogits, float* shrinks) {
  const float lowest = -__builtin_inff();
  for (int i = 0; i < rows; i++) {
    float* row = x + i * ld;
    const int64_t target = targets[i] - first;
    if (target >= 0 && target < columns) {
      targetLogits[i] = row[target];
      row[target] = lowest;
    }
    const float before = largest[i];
    const float now = largestIn(row, columns, before);
    // -inf - -inf is no number: without any other class so far the origin is 0.
    const float origin = now == lowest ? 0 : now;
    shrinks[i] = before == now ? 1 : expOf(all(before - now))[0];
    largest[i] = now;
    rest[i] = rest[i] * shrinks[i] + exponentiate(row, columns, origin, 1);
  }
}

void weigh(float* x, int64_t ld, int rows, int64_t columns, const int32_t* targets, int64_t first, const float* largest, const float* factors, const float* targetFactors) {
  for (int i = 0; i < rows; i++) {
    const int64_t target = targets[i] - first;
    exponentiate(x + i * ld, columns, largest[i], factors[i]);
    if (target >= 0 && target < columns) x[i * ld + target] = targetFactors[i];
  }
}

void blend(float a, const float* x, float b, float* y, int64_t n) {
  const Vec p = all(a), q = all(b);
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(y + j, p * load(x + j) + q * load(y + j));
  for (; j < n; j++) y[j] = a * x[j] + b * y[j];
}

const graft::LossKernels lossKernels = {soften, weigh, blend};

}  // namespace
