// Few queries against many keys, as in generating text: the keys and values are read once, as they lie, and nothing is packed.

namespace {

constexpr int kFewRows = 16;
// Keys whose scores are held at once: they and their values stay in the first cache between the query heads.
constexpr int kFewKeys = 64;

int64_t fewRoom(int64_t size) { return kFewRows * size + 2 * kFewRows * kFewKeys; }

// scores [rows][kFewKeys] = q [rows][size] k^T, and 0 up to a whole vector of keys. Sums of as many keys as there are lanes are turned to
// be added up at once.
void fewScores(const float* q, int64_t rows, int64_t size, const float* k, int64_t keyStride, int64_t keys, float* scores) {
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t key = 0; key < keys; key += kLanes) {
    const int64_t count = smaller64(kLanes, keys - key);
    for (int64_t row = 0; row < rows; row++) {
      const float* own = q + row * size;
      Vec sums[kLanes];
      for (int l = 0; l < kLanes; l++) {
        Vec sum = {};
        if (l < count) {
          const float* from = k + (key + l) * keyStride;
          for (int64_t i = 0; i < whole; i += kLanes) sum += load(from + i) * load(own + i);
          if (whole < size) sum += loadPart(from + whole, static_cast<int>(size - whole)) * loadPart(own + whole, static_cast<int>(size - whole));
        }
        sums[l] = sum;
      }
      turnSquare(sums);
      for (int half = kLanes / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) sums[l] += sums[l + half];
      }
      store(scores + row * kFewKeys + key, sums[0]);
    }
  }
}

// scores[0 .. keys) of one row, and -infinity up to a whole vector -> exponentials; its running maximum and sum go on. Returns what the sums
// so far shrink by.
inline float weigh(float* scores, int64_t keys, float* most, float* sum) {
  Vec largest = all(*most), total = {};
  for (int64_t i = 0; i < keys; i += kLanes) largest = larger(load(scores + i), largest);
  const float now = largestOf(largest);
  for (int64_t i = 0; i < keys; i += kLanes) {
    const Vec p = expOf(load(scores + i) - all(now));
    store(scores + i, p);
    total += p;
  }
  const float keep = expOf(all(*most - now))[0];
  *most = now;
  *sum = *sum * keep + sumOf(total);
  return keep;
}

void attendFew(const graft::AttentionPair& pair, int64_t from, int64_t to, float* room, float* partial) {
  const int64_t size = pair.size, rows = pair.rows(), stride = 2 + size;
  float* q = room;                          // [rows][size]
  float* scores = q + kFewRows * size;      // [rows][kFewKeys]
  float* weights = scores + kFewRows * kFewKeys;  // [keys][rows]
  for (int64_t row = 0; row < rows; row++) {
    readRow(pair.q + rowOffset(pair, row), size, pair.scale, nullptr, nullptr, 1, q + row * size);
    float* result = partial + row * stride;
    std::memset(result, 0, static_cast<size_t>(stride) * 4);
    result[0] = kNoScore;
  }
  for (int64_t key = from; key < to; key += kFewKeys) {
    const int64_t keys = smaller64(kFewKeys, to - key);
    const int64_t ceiling = (keys + kLanes - 1) / kLanes * kLanes;
    fewScores(q, rows, size, pair.k + key * pair.keyStride, pair.keyStride, keys, scores);
    for (int64_t row = 0; row < rows; row++) {
      float* own = scores + row * kFewKeys;
      const int64_t query = row / pair.group, first = pair.firstKey(query), after = smaller64(to, pair.lastKey(query) + 1);
      for (int64_t i = 0; i < ceiling && key + i < first; i++) own[i] = -__builtin_inff();
      for (int64_t i = larger64(0, after - key); i < ceiling; i++) own[i] = -__builtin_inff();
      float* result = partial + row * stride;
      const float keep = weigh(own, keys, result, result + 1);
      if (keep == 1) continue;
      for (int64_t i = 0; i < size; i++) result[2 + i] *= keep;
    }
    turn(scores, kFewKeys, rows, keys, weights, rows);
    thinLeft(weights, rows, pair.v + key * pair.keyStride, pair.keyStride, partial + 2, stride, keys, rows, size, true);
  }
}

void combineFew(const graft::AttentionPair& pair, const float* partials, int64_t count, float* out, float* logSums, int64_t logSumStride) {
  const int64_t size = pair.size, rows = pair.rows(), stride = 2 + size;
  for (int64_t row = 0; row < rows; row++) {
    float most = kNoScore, sum = 0;
    for (int64_t p = 0; p < count; p++) {
      const float own = partials[(p * rows + row) * stride];
      most = own > most ? own : most;
    }
    float* to = out + rowOffset(pair, row);
    std::memset(to, 0, static_cast<size_t>(size) * 4);
    for (int64_t p = 0; p < count; p++) {
      const float* own = partials + (p * rows + row) * stride;
      const float keep = expOf(all(own[0] - most))[0];
      sum += keep * own[1];
      for (int64_t i = 0; i < size; i++) to[i] += keep * own[2 + i];
    }
    const float inverse = sum == 0 ? 0 : 1 / sum;
    for (int64_t i = 0; i < size; i++) to[i] *= inverse;
    if (logSums != nullptr) logSums[row / pair.group * logSumStride + row % pair.group] = sum == 0 ? __builtin_inff() : most + __builtin_logf(sum);
  }
}

}  // namespace
