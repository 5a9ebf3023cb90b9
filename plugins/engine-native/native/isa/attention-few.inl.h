// Few queries against many keys, as in generating text: the keys and values are read once, as they lie, and nothing is packed.

namespace {

constexpr int kFewRows = 8;
// Keys whose scores are held at once: they and their values stay in the first cache between the query heads.
constexpr int kFewKeys = 64;

int64_t fewRoom(int64_t size) { return kFewRows * size + 2 * kFewRows * kFewKeys; }

// scores[0 .. keys) of one row -> exponentials; its running maximum and sum go on. Returns what the sums so far shrink by.
inline float weigh(float* scores, int64_t keys, float* most, float* sum) {
  const float before = *most;
  float now = before;
  for (int64_t i = 0; i < keys; i++) now = scores[i] > now ? scores[i] : now;
  Vec total = {};
  for (int64_t i = 0; i < keys; i += kLanes) {
    const int count = static_cast<int>(smaller64(kLanes, keys - i));
    float last[kLanes];
    for (int l = 0; l < kLanes; l++) last[l] = l < count ? scores[i + l] : -__builtin_inff();
    const Vec p = expOf(load(last) - all(now));
    store(scores + i, p);
    total += p;
  }
  const float keep = expOf(all(before - now))[0];
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
    thinRight(q, size, pair.k + key * pair.keyStride, pair.keyStride, scores, kFewKeys, rows, size, keys, 1);
    for (int64_t row = 0; row < rows; row++) {
      float* own = scores + row * kFewKeys;
      const int64_t query = row / pair.group, first = pair.firstKey(query), last = pair.lastKey(query);
      for (int64_t i = 0; i < keys; i++) {
        if (key + i < first || key + i > last) own[i] = -__builtin_inff();
      }
      float* result = partial + row * stride;
      const float keep = weigh(own, keys, result, result + 1);
      for (int64_t i = 0; i < size; i++) result[2 + i] *= keep;
      for (int64_t i = 0; i < keys; i++) weights[i * rows + row] = own[i];
    }
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
