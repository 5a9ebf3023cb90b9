// How attention reads queries, keys and values into the layouts of the tiles, and turns q and k by their positions on the way.

namespace {

inline int64_t smaller64(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger64(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t paddedSize(int64_t size) { return (size + kTileColumns - 1) / kTileColumns * kTileColumns; }

// `size` cut into the fewest blocks of at most kTileRows, of nearly equal width: the last is the narrowest.
struct SizeBlocks {
  int64_t size, width;
  explicit SizeBlocks(int64_t of) : size(of) {
    const int64_t count = (of + kTileRows - 1) / kTileRows;
    width = (of + count - 1) / count;
  }
  int widthAt(int64_t start) const { return static_cast<int>(smaller64(width, size - start)); }
};

#if defined(__AVX2__) && !defined(__AVX512F__)
// The first `count` lanes, without the detour through memory of loadSome and storeSome.
inline __m256i firstLanes(int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
inline Vec loadPart(const float* p, int count) { return (Vec)_mm256_maskload_ps(p, firstLanes(count)); }
inline void storePart(float* p, Vec v, int count) { _mm256_maskstore_ps(p, firstLanes(count), (__m256)v); }
#else
inline Vec loadPart(const float* p, int count) { return loadSome(p, count); }
inline void storePart(float* p, Vec v, int count) { storeSome(p, v, count); }
#endif

// Rows of kLanes words -> columns, in registers.
inline void turnSquare(Vec r[kLanes]) {
#if defined(__AVX512F__)
  __m512i words[16];
  for (int i = 0; i < 16; i++) words[i] = (__m512i)r[i];
  turn16(words);
  for (int i = 0; i < 16; i++) r[i] = (Vec)words[i];
#elif defined(__AVX2__)
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps((__m256)r[i], (__m256)r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps((__m256)r[i], (__m256)r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = (Vec)_mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = (Vec)_mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
#else
  Vec t[kLanes];
  for (int i = 0; i < kLanes; i++) {
    for (int j = 0; j < kLanes; j++) t[j][i] = r[i][j];
  }
  for (int i = 0; i < kLanes; i++) r[i] = t[i];
#endif
}

// in [rows][columns], ld apart -> out [columns][rows], ldo apart.
void turn(const float* in, int64_t ld, int64_t rows, int64_t columns, float* out, int64_t ldo) {
  for (int64_t i = 0; i < rows; i += kLanes) {
    const int height = static_cast<int>(smaller64(rows - i, kLanes));
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int width = static_cast<int>(smaller64(columns - j, kLanes));
      Vec square[kLanes];
      for (int l = 0; l < kLanes; l++) square[l] = l >= height ? Vec{} : width == kLanes ? load(in + (i + l) * ld + j) : loadPart(in + (i + l) * ld + j, width);
      turnSquare(square);
      float* to = out + j * ldo + i;
      if (height == kLanes) {
        for (int l = 0; l < width; l++) store(to + l * ldo, square[l]);
      } else {
        for (int l = 0; l < width; l++) storePart(to + l * ldo, square[l], height);
      }
    }
  }
}

// scale * x, and where cos is given `[x1 cos - x2 sin, x2 cos + x1 sin]` of its halves: core/tensor/ops/rope.ts. `out` may be x.
inline void readRow(const float* x, int64_t size, float scale, const float* cos, const float* sin, float sign, float* out) {
  const Vec s = all(scale);
  if (cos == nullptr) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) store(out + i, load(x + i) * s);
    for (; i < size; i++) out[i] = x[i] * scale;
    return;
  }
  const int64_t half = size / 2;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec first = load(x + i) * s, second = load(x + half + i) * s;
    const Vec c = load(cos + i), w = load(sin + i) * all(sign);
    store(out + i, first * c - second * w);
    store(out + half + i, second * c + first * w);
  }
  for (; i < half; i++) {
    const float first = x[i] * scale, second = x[half + i] * scale, w = sin[i] * sign;
    out[i] = first * cos[i] - second * w;
    out[half + i] = second * cos[i] + first * w;
  }
}

inline const float* angle(const float* of, int64_t token, int64_t size) { return of == nullptr ? nullptr : of + token * (size / 2); }

// One tile of keys or values, [keys][size] in `rows`, to its places across and down.
inline void packTile(const float* rows, int64_t size, int64_t m, int64_t key, int keys, float* across, float* down) {
  if (across != nullptr) turn(rows, size, keys, size, across + key * size, keys);
  if (down == nullptr) return;
  const SizeBlocks blocks(size);
  for (int64_t start = 0; start < size; start += blocks.width) {
    const int width = blocks.widthAt(start);
    float* to = down + start * m + key * width;
    for (int i = 0; i < keys; i++) {
      const float* from = rows + i * size + start;
      if (kLanes >= kTileRows) {
        storePart(to + i * width, loadPart(from, width), width);
      } else {
        for (int l = 0; l < width; l++) to[i * width + l] = from[l];
      }
    }
  }
}

void packKeys(const graft::AttentionPair& pair, int64_t from, int64_t to, const graft::PackedKeys& packed, float* rows) {
  const int64_t size = pair.size;
  for (int64_t key = from; key < to; key += kTileRows) {
    const int keys = static_cast<int>(smaller64(kTileRows, to - key));
    for (int i = 0; i < keys; i++) readRow(pair.k + (key + i) * pair.keyStride, size, 1, angle(pair.cos, key + i, size), angle(pair.sin, key + i, size), 1, rows + i * size);
    packTile(rows, size, pair.m, key, keys, packed.keysAcross, packed.keysDown);
    if (packed.valuesAcross == nullptr && packed.valuesDown == nullptr) continue;
    for (int i = 0; i < keys; i++) readRow(pair.v + (key + i) * pair.keyStride, size, 1, nullptr, nullptr, 1, rows + i * size);
    packTile(rows, size, pair.m, key, keys, packed.valuesAcross, packed.valuesDown);
  }
}

// Keys of a block: its scores stay in the first cache.
constexpr int kBlockKeys = kTileRows >= 12 ? 8 * kTileRows : 16 * kTileRows;
// Panels that go over a block of keys together.
constexpr int kGroupPanels = 4;

// Which keys the rows of a panel see. Rows beyond the pair's see what its last row sees.
struct PanelReach {
  int64_t firstRow;
  int rows;
  // Keys from .. to are seen by some row; those in innerFrom .. innerTo by every one. `from` begins a tile.
  int64_t from, to, innerFrom, innerTo;

  PanelReach() = default;
  PanelReach(const graft::AttentionPair& pair, int64_t panel, int32_t* last) {
    firstRow = panel * kTileColumns;
    rows = static_cast<int>(smaller64(kTileColumns, pair.rows() - firstRow));
    const int64_t firstQuery = firstRow / pair.group, lastQuery = (firstRow + rows - 1) / pair.group;
    from = pair.firstKey(firstQuery) / kTileRows * kTileRows;
    to = larger64(0, pair.lastKey(lastQuery) + 1);
    innerFrom = pair.firstKey(lastQuery);
    innerTo = larger64(0, pair.lastKey(firstQuery) + 1);
    int64_t query = firstQuery, head = firstRow % pair.group;
    for (int i = 0; i < kTileColumns; i++) {
      last[i] = static_cast<int32_t>(pair.lastKey(query < lastQuery ? query : lastQuery));
      if (++head == pair.group) {
        head = 0;
        query++;
      }
    }
  }
};

// The lanes whose row sees the key.
inline IntVec sees(IntVec last, int32_t window, int32_t key) { return (last >= allInt(key)) & (last < allInt(key) + window); }

// Where the row's numbers lie in what has the shape of q.
inline int64_t rowOffset(const graft::AttentionPair& pair, int64_t row) { return row / pair.group * pair.queryStride + row % pair.group * pair.size; }

}  // namespace
