// Tiles: all sums of one in registers.

namespace {

template <int kRows>
void tileOf(int64_t k, const float* a, const float* b, float* c, int64_t ld, bool accumulate) {
  Vec sum[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) sum[i][0] = sum[i][1] = Vec{};
  for (int64_t j = 0; j < k; j++) {
    const Vec b0 = load(b), b1 = load(b + kLanes);
    __builtin_prefetch(b + 16 * kTileColumns);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++) {
      const Vec x = all(a[i]);
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
    a += kRows;
    b += kTileColumns;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) {
    float* row = c + i * ld;
    store(row, accumulate ? load(row) + sum[i][0] : sum[i][0]);
    store(row + kLanes, accumulate ? load(row + kLanes) + sum[i][1] : sum[i][1]);
  }
}

#if defined(__AVX512BF16__)
template <int kRows>
void tileBf16Of(int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ld, bool accumulate) {
  __m512 sum[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  for (int64_t j = 0; j < k; j++) {
    const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + 32);
    __builtin_prefetch(b + 16 * 2 * kTileColumns);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++) {
      int pair;
      std::memcpy(&pair, a + 2 * i, 4);
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
    }
    a += 2 * kRows;
    b += 2 * kTileColumns;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++) {
    float* row = c + i * ld;
    if (accumulate) {
      sum[i][0] = _mm512_add_ps(sum[i][0], _mm512_loadu_ps(row));
      sum[i][1] = _mm512_add_ps(sum[i][1], _mm512_loadu_ps(row + 16));
    }
    _mm512_storeu_ps(row, sum[i][0]);
    _mm512_storeu_ps(row + 16, sum[i][1]);
  }
}
#else
// Two products of widened numbers a step: for sets without the instruction, which never pack in bf16 themselves.
template <int kRows>
void tileBf16Of(int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ld, bool accumulate) {
  for (int i = 0; i < kRows; i++) {
    for (int n = 0; n < kTileColumns; n++) {
      float sum = 0;
      for (int64_t j = 0; j < 2 * k; j++) sum += bf16ToFloat(a[(j / 2 * kRows + i) * 2 + j % 2]) * bf16ToFloat(b[(j / 2 * kTileColumns + n) * 2 + j % 2]);
      c[i * ld + n] = accumulate ? c[i * ld + n] + sum : sum;
    }
  }
}
#endif

using Tile = void (*)(int64_t, const float*, const float*, float*, int64_t, bool);
using TileBf16 = void (*)(int64_t, const uint16_t*, const uint16_t*, float*, int64_t, bool);

#define GRAFT_TILES(of) of<1>, of<2>, of<3>, of<4>, of<5>, of<6>
#if defined(__AVX512F__)
const Tile kTiles[] = {GRAFT_TILES(tileOf), tileOf<7>, tileOf<8>, tileOf<9>, tileOf<10>, tileOf<11>, tileOf<12>, tileOf<13>, tileOf<14>};
const TileBf16 kTilesBf16[] = {GRAFT_TILES(tileBf16Of), tileBf16Of<7>, tileBf16Of<8>, tileBf16Of<9>, tileBf16Of<10>, tileBf16Of<11>, tileBf16Of<12>, tileBf16Of<13>, tileBf16Of<14>};
#elif defined(__aarch64__)
const Tile kTiles[] = {GRAFT_TILES(tileOf), tileOf<7>, tileOf<8>, tileOf<9>, tileOf<10>, tileOf<11>, tileOf<12>};
const TileBf16 kTilesBf16[] = {GRAFT_TILES(tileBf16Of), tileBf16Of<7>, tileBf16Of<8>, tileBf16Of<9>, tileBf16Of<10>, tileBf16Of<11>, tileBf16Of<12>};
#else
const Tile kTiles[] = {GRAFT_TILES(tileOf)};
const TileBf16 kTilesBf16[] = {GRAFT_TILES(tileBf16Of)};
#endif
#undef GRAFT_TILES

// A tile that is cut off at the right goes through a whole one.
template <class Number, class TileFunction>
inline void boundedTile(TileFunction of, int64_t k, const Number* a, const Number* b, float* c, int64_t ld, int rows, int columns, bool accumulate) {
  if (columns == kTileColumns) {
    of(k, a, b, c, ld, accumulate);
    return;
  }
  float whole[kTileRows * kTileColumns];
  of(k, a, b, whole, kTileColumns, false);
  for (int i = 0; i < rows; i++) {
    for (int n = 0; n < columns; n++) c[i * ld + n] = accumulate ? c[i * ld + n] + whole[i * kTileColumns + n] : whole[i * kTileColumns + n];
  }
}

void tile(int64_t k, const float* a, const float* b, float* c, int64_t ld, int rows, int columns, bool accumulate) {
  boundedTile(kTiles[rows - 1], k, a, b, c, ld, rows, columns, accumulate);
}
void tileBf16(int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ld, int rows, int columns, bool accumulate) {
  boundedTile(kTilesBf16[rows - 1], k, a, b, c, ld, rows, columns, accumulate);
}

}  // namespace
