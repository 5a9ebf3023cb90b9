// Gradients of attention, from the scores computed again. With P = exp(S - log sum), D = rowsum(dO O) (Dao et al. 2022):
// dV = P^T dO, dS = P (dO V^T - D), dQ = scale dS K, dK = dS^T scale Q. All of P^T, dP^T and dS^T lie [keys][rows], so that they are the
// right side of dQ^T as they are, and the left side of dK and dV by rows.

namespace {

struct BackwardPanel {
  float* q;        // [size][rows], scaled
  float* dOut;     // [size][rows]
  float* qRows;    // [rows][padded size], scaled
  float* dOutRows; // [rows][padded size]
  float* dq;       // [size][rows]
  float* logSums;  // [rows]
  float* dots;     // [rows], D
  int32_t* last;   // [rows], the last key that each sees
  PanelReach reach;

  static int64_t floats(int64_t size) { return (3 * size + 2 * paddedSize(size) + 3) * kTileColumns; }
  BackwardPanel() = default;
  BackwardPanel(const graft::AttentionPair& pair, int64_t panel, float* room) {
    const int64_t across = pair.size * kTileColumns, down = paddedSize(pair.size) * kTileColumns;
    q = room;
    dOut = q + across;
    dq = dOut + across;
    qRows = dq + across;
    dOutRows = qRows + down;
    logSums = dOutRows + down;
    dots = logSums + kTileColumns;
    last = reinterpret_cast<int32_t*>(dots + kTileColumns);
    reach = PanelReach(pair, panel, last);
  }
};

int64_t backwardRoom(int64_t size) { return kGroupPanels * BackwardPanel::floats(size) + 2 * (kBlockKeys + kTileRows) * kTileColumns; }

inline float dotOf(const float* a, const float* b, int64_t size) {
  Vec sum = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) sum += load(a + i) * load(b + i);
  float rest = 0;
  for (; i < size; i++) rest += a[i] * b[i];
  return sumOf(sum) + rest;
}

void prepareBackward(const graft::AttentionPair& pair, const BackwardPanel& panel, const graft::AttentionGradients& gradients) {
  const int64_t size = pair.size, padded = paddedSize(size);
  const PanelReach& reach = panel.reach;
  std::memset(panel.qRows, 0, static_cast<size_t>(2 * padded * kTileColumns) * 4);
  for (int i = 0; i < kTileColumns; i++) {
    panel.dots[i] = 0;
    // Rows beyond the last weigh no key.
    panel.logSums[i] = __builtin_inff();
    if (i >= reach.rows) continue;
    const int64_t row = reach.firstRow + i, query = row / pair.group, at = rowOffset(pair, row);
    readRow(pair.q + at, size, pair.scale, angle(pair.cos, query, size), angle(pair.sin, query, size), 1, panel.qRows + i * padded);
    std::memcpy(panel.dOutRows + i * padded, gradients.dOut + at, static_cast<size_t>(size) * 4);
    panel.dots[i] = dotOf(gradients.dOut + at, gradients.out + at, size);
    panel.logSums[i] = gradients.logSums[query * gradients.logSumStride + row % pair.group];
  }
  turn(panel.qRows, padded, kTileColumns, size, panel.q, kTileColumns);
  turn(panel.dOutRows, padded, kTileColumns, size, panel.dOut, kTileColumns);
  std::memset(panel.dq, 0, static_cast<size_t>(size * kTileColumns) * 4);
}

// c [kRows][kTileColumns] += a b over the rows of a panel: a [kRows][kTileColumns], b [kTileColumns][kTileColumns], ld apart like c.
template <int kRows>
void tileByRows(const float* a, const float* b, float* c, int64_t ld) {
  Vec sum[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) sum[i][0] = sum[i][1] = Vec{};
  for (int j = 0; j < kTileColumns; j++) {
    const Vec b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++) {
      const Vec x = all(a[i * kTileColumns + j]);
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
    b += ld;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) {
    store(c + i * ld, load(c + i * ld) + sum[i][0]);
    store(c + i * ld + kLanes, load(c + i * ld + kLanes) + sum[i][1]);
  }
}

using TileByRows = void (*)(const float*, const float*, float*, int64_t);
const TileByRows kTilesByRows[] = {
    tileByRows<1>, tileByRows<2>, tileByRows<3>, tileByRows<4>, tileByRows<5>, tileByRows<6>,
#if defined(__AVX512F__) || defined(__aarch64__)
    tileByRows<7>, tileByRows<8>, tileByRows<9>, tileByRows<10>, tileByRows<11>, tileByRows<12>,
#endif
#if defined(__AVX512F__)
    tileByRows<13>, tileByRows<14>,
#endif
};

// sums [keys][padded] += weights [keys][rows] x [rows][padded]
void addByKey(const float* weights, int64_t keys, const float* x, int64_t padded, float* sums) {
  for (int64_t column = 0; column < padded; column += kTileColumns) {
    for (int64_t key = 0; key < keys; key += kTileRows) {
      kTilesByRows[smaller64(kTileRows, keys - key) - 1](weights + key * kTileColumns, x + column, sums + key * padded + column, padded);
    }
  }
}

void backwardBlock(const graft::AttentionPair& pair, const graft::PackedKeys& packed, const BackwardPanel& panel, int64_t from, int64_t to, float* weights, float* dWeights, const graft::AttentionGradients& gradients) {
  const int64_t size = pair.size, padded = paddedSize(size), keys = to - from;
  panelScores(pair, packed.keysAcross, panel.reach, panel.q, panel.last, from, to, weights);
  const Vec log0 = load(panel.logSums), log1 = load(panel.logSums + kLanes);
  for (int64_t i = 0; i < keys; i++) {
    float* at = weights + i * kTileColumns;
    store(at, expOf(load(at) - log0));
    store(at + kLanes, expOf(load(at + kLanes) - log1));
  }
  if (gradients.dv != nullptr) addByKey(weights, keys, panel.dOutRows, padded, gradients.dv + (from - gradients.firstKey) * padded);
  if (gradients.dq == nullptr && gradients.dk == nullptr) return;

  for (int64_t key = from; key < to; key += kTileRows) {
    kTiles[smaller64(kTileRows, pair.m - key) - 1](size, packed.valuesAcross + key * size, panel.dOut, dWeights + (key - from) * kTileColumns, kTileColumns, false);
  }
  const Vec dot0 = load(panel.dots), dot1 = load(panel.dots + kLanes);
  for (int64_t i = 0; i < keys; i++) {
    float* to = dWeights + i * kTileColumns;
    const float* p = weights + i * kTileColumns;
    store(to, load(p) * (load(to) - dot0));
    store(to + kLanes, load(p + kLanes) * (load(to + kLanes) - dot1));
  }
  if (gradients.dk != nullptr) addByKey(dWeights, keys, panel.qRows, padded, gradients.dk + (from - gradients.firstKey) * padded);
  if (gradients.dq == nullptr) return;
  const SizeBlocks blocks(size);
  for (int64_t start = 0; start < size; start += blocks.width) {
    const int width = blocks.widthAt(start);
    kTiles[width - 1](keys, packed.keysDown + start * pair.m + from * width, dWeights, panel.dq + start * kTileColumns, kTileColumns, true);
  }
}

// The turned rows of dq, in the place of q's: they are done with.
void finishBackward(const graft::AttentionPair& pair, const BackwardPanel& panel, float* dq) {
  const int64_t size = pair.size;
  turn(panel.dq, kTileColumns, size, kTileColumns, panel.qRows, size);
  for (int i = 0; i < panel.reach.rows; i++) {
    const int64_t row = panel.reach.firstRow + i, query = row / pair.group;
    readRow(panel.qRows + i * size, size, pair.scale, angle(pair.cos, query, size), angle(pair.sin, query, size), -1, dq + rowOffset(pair, row));
  }
}

void attendBackward(const graft::AttentionPair& pair, int64_t first, int64_t end, const graft::PackedKeys& packed, float* room, const graft::AttentionGradients& gradients) {
  float* weights = room;
  float* dWeights = weights + (kBlockKeys + kTileRows) * kTileColumns;
  float* memory = dWeights + (kBlockKeys + kTileRows) * kTileColumns;

  for (int64_t group = first; group < end; group += kGroupPanels) {
    const int64_t count = smaller64(kGroupPanels, end - group);
    BackwardPanel panels[kGroupPanels];
    for (int64_t i = 0; i < count; i++) {
      panels[i] = BackwardPanel(pair, group + i, memory + i * BackwardPanel::floats(pair.size));
      prepareBackward(pair, panels[i], gradients);
    }
    const int64_t last = panels[count - 1].reach.to;
    for (int64_t block = panels[0].reach.from; block < last; block += kBlockKeys) {
      for (int64_t i = 0; i < count; i++) {
        const int64_t from = larger64(block, panels[i].reach.from), to = smaller64(block + kBlockKeys, panels[i].reach.to);
        if (from < to) backwardBlock(pair, packed, panels[i], from, to, weights, dWeights, gradients);
      }
    }
    if (gradients.dq == nullptr) continue;
    for (int64_t i = 0; i < count; i++) finishBackward(pair, panels[i], gradients.dq);
  }
}

// One key's row of dk or dv: the parts that have it, in their order.
inline void sumParts(const graft::KeyGradientPart* parts, int64_t count, bool ofValues, int64_t key, int64_t padded, float* sum) {
  std::memset(sum, 0, static_cast<size_t>(padded) * 4);
  for (int64_t p = 0; p < count; p++) {
    if (key < parts[p].firstKey || key >= parts[p].endKey) continue;
    const float* from = (ofValues ? parts[p].dv : parts[p].dk) + (key - parts[p].firstKey) * padded;
    for (int64_t i = 0; i < padded; i += kLanes) store(sum + i, load(sum + i) + load(from + i));
  }
}

void keyGradients(const graft::AttentionPair& pair, const graft::KeyGradientPart* parts, int64_t count, int64_t from, int64_t to, float* room, float* dk, float* dv) {
  const int64_t size = pair.size, padded = paddedSize(size);
  for (int64_t key = from; key < to; key++) {
    if (dk != nullptr) {
      sumParts(parts, count, false, key, padded, room);
      readRow(room, size, 1, angle(pair.cos, key, size), angle(pair.sin, key, size), -1, dk + key * pair.keyStride);
    }
    if (dv != nullptr) {
      sumParts(parts, count, true, key, padded, room);
      std::memcpy(dv + key * pair.keyStride, room, static_cast<size_t>(size) * 4);
    }
  }
}

}  // namespace
