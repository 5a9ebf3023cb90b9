// softmax(scale q k^T) v, block by block of keys with a running maximum (Dao et al. 2022), in the transposed form of attention.h:
// S^T = K Q^T, O^T += V^T P^T.

namespace {

// The running maximum before any key was seen; finite, so that its difference from a hidden score is -infinity and not NaN.
constexpr float kNoScore = -1e30f;

struct ForwardPanel {
  float* q;       // [size][rows]
  float* out;     // [size][rows]
  float* most;    // [rows]
  float* sum;     // [rows]
  int32_t* last;  // [rows], the last key that each sees
  PanelReach reach;

  static int64_t floats(int64_t size) { return (2 * size + 3) * kTileColumns; }
  ForwardPanel() = default;
  ForwardPanel(const graft::AttentionPair& pair, int64_t panel, float* room) {
    q = room;
    out = q + pair.size * kTileColumns;
    most = out + pair.size * kTileColumns;
    sum = most + kTileColumns;
    last = reinterpret_cast<int32_t*>(sum + kTileColumns);
    reach = PanelReach(pair, panel, last);
  }
};

int64_t forwardRoom(int64_t size) { return kGroupPanels * ForwardPanel::floats(size) + (kBlockKeys + kTileRows) * kTileColumns + kTileColumns * size; }

void preparePanel(const graft::AttentionPair& pair, const ForwardPanel& panel, float* rows) {
  const int64_t size = pair.size;
  const PanelReach& reach = panel.reach;
  for (int i = 0; i < reach.rows; i++) {
    const int64_t row = reach.firstRow + i, query = row / pair.group;
    readRow(pair.q + rowOffset(pair, row), size, pair.scale, angle(pair.cos, query, size), angle(pair.sin, query, size), 1, rows + i * size);
  }
  if (reach.rows < kTileColumns) std::memset(rows + reach.rows * size, 0, static_cast<size_t>((kTileColumns - reach.rows) * size) * 4);
  turn(rows, size, kTileColumns, size, panel.q, kTileColumns);
  std::memset(panel.out, 0, static_cast<size_t>(size * kTileColumns) * 4);
  for (int i = 0; i < kTileColumns; i++) {
    panel.most[i] = kNoScore;
    panel.sum[i] = 0;
  }
}

// S^T of keys from .. to, hidden ones -infinity.
inline void panelScores(const graft::AttentionPair& pair, const float* across, const PanelReach& reach, const float* q, const int32_t* last, int64_t from, int64_t to, float* scores) {
  for (int64_t key = from; key < to; key += kTileRows) {
    kTiles[smaller64(kTileRows, pair.m - key) - 1](pair.size, across + key * pair.size, q, scores + (key - from) * kTileColumns, kTileColumns, false);
  }
  const IntVec last0 = loadInt(last), last1 = loadInt(last + kLanes);
  const auto window = static_cast<int32_t>(pair.window);
  for (int64_t key = from; key < to; key++) {
    if (key >= reach.innerFrom && key < reach.innerTo) key = reach.innerTo;
    if (key >= to) return;
    float* at = scores + (key - from) * kTileColumns;
    const Vec hidden = all(-__builtin_inff());
    store(at, sees(last0, window, static_cast<int32_t>(key)) ? load(at) : hidden);
    store(at + kLanes, sees(last1, window, static_cast<int32_t>(key)) ? load(at + kLanes) : hidden);
  }
}

void attendBlock(const graft::AttentionPair& pair, const graft::PackedKeys& packed, const ForwardPanel& panel, int64_t from, int64_t to, float* scores) {
  panelScores(pair, packed.keysAcross, panel.reach, panel.q, panel.last, from, to, scores);
  const int64_t keys = to - from, size = pair.size;

  const Vec before0 = load(panel.most), before1 = load(panel.most + kLanes);
  Vec most0 = before0, most1 = before1;
  for (int64_t i = 0; i < keys; i++) {
    most0 = larger(load(scores + i * kTileColumns), most0);
    most1 = larger(load(scores + i * kTileColumns + kLanes), most1);
  }
  const Vec keep0 = expOf(before0 - most0), keep1 = expOf(before1 - most1);
  Vec sum0 = load(panel.sum) * keep0, sum1 = load(panel.sum + kLanes) * keep1;
  for (int64_t i = 0; i < keys; i++) {
    float* at = scores + i * kTileColumns;
    const Vec p0 = expOf(load(at) - most0), p1 = expOf(load(at + kLanes) - most1);
    store(at, p0);
    store(at + kLanes, p1);
    sum0 += p0;
    sum1 += p1;
  }
  store(panel.most, most0);
  store(panel.most + kLanes, most1);
  store(panel.sum, sum0);
  store(panel.sum + kLanes, sum1);

  for (int64_t i = 0; i < size; i++) {
    float* at = panel.out + i * kTileColumns;
    store(at, load(at) * keep0);
    store(at + kLanes, load(at + kLanes) * keep1);
  }
  const SizeBlocks blocks(size);
  for (int64_t start = 0; start < size; start += blocks.width) {
    const int width = blocks.widthAt(start);
    kTiles[width - 1](keys, packed.valuesDown + start * pair.m + from * width, scores, panel.out + start * kTileColumns, kTileColumns, true);
  }
}

void finishPanel(const graft::AttentionPair& pair, const ForwardPanel& panel, float* rows, float* out, float* logSums, int64_t logSumStride) {
  const int64_t size = pair.size;
  const PanelReach& reach = panel.reach;
  float inverse[kTileColumns];
  for (int i = 0; i < kTileColumns; i++) inverse[i] = panel.sum[i] == 0 ? 0 : 1 / panel.sum[i];
  const Vec inverse0 = load(inverse), inverse1 = load(inverse + kLanes);
  for (int64_t i = 0; i < size; i++) {
    float* at = panel.out + i * kTileColumns;
    store(at, load(at) * inverse0);
    store(at + kLanes, load(at + kLanes) * inverse1);
  }
  turn(panel.out, kTileColumns, size, kTileColumns, rows, size);
  for (int i = 0; i < reach.rows; i++) {
    const int64_t row = reach.firstRow + i;
    std::memcpy(out + rowOffset(pair, row), rows + i * size, static_cast<size_t>(size) * 4);
    // A row that sees no key weighs none in the backward either.
    if (logSums != nullptr) logSums[row / pair.group * logSumStride + row % pair.group] = panel.sum[i] == 0 ? __builtin_inff() : panel.most[i] + __builtin_logf(panel.sum[i]);
  }
}

void attend(const graft::AttentionPair& pair, int64_t first, int64_t end, const graft::PackedKeys& packed, float* room, float* out, float* logSums, int64_t logSumStride) {
  const int64_t size = pair.size;
  float* scores = room;
  float* rows = scores + (kBlockKeys + kTileRows) * kTileColumns;
  float* memory = rows + kTileColumns * size;

  for (int64_t group = first; group < end; group += kGroupPanels) {
    const int64_t count = smaller64(kGroupPanels, end - group);
    ForwardPanel panels[kGroupPanels];
    for (int64_t i = 0; i < count; i++) {
      panels[i] = ForwardPanel(pair, group + i, memory + i * ForwardPanel::floats(size));
      preparePanel(pair, panels[i], rows);
    }
    const int64_t last = panels[count - 1].reach.to;
    for (int64_t block = panels[0].reach.from; block < last; block += kBlockKeys) {
      for (int64_t i = 0; i < count; i++) {
        const int64_t from = larger64(block, panels[i].reach.from), to = smaller64(block + kBlockKeys, panels[i].reach.to);
        if (from < to) attendBlock(pair, packed, panels[i], from, to, scores);
      }
    }
    for (int64_t i = 0; i < count; i++) finishPanel(pair, panels[i], rows, out, logSums, logSumStride);
  }
}

}  // namespace
