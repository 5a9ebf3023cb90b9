// See elements.h for what each function computes.

namespace {
namespace elements {

#if defined(__AVX512F__)
constexpr int kTurned = 16;

inline void turnBlock(const uint32_t* x, int64_t ldx, uint32_t* y, int64_t ldy) {
  __m512i words[kTurned];
  for (int c = 0; c < kTurned; c++) words[c] = _mm512_loadu_si512(x + c * ldx);
  turn16(words);
  for (int r = 0; r < kTurned; r++) _mm512_storeu_si512(y + r * ldy, words[r]);
}
#else
constexpr int kTurned = 8;

inline void turnBlock(const uint32_t* x, int64_t ldx, uint32_t* y, int64_t ldy) {
  uint32_t words[kTurned][kTurned];
  for (int c = 0; c < kTurned; c++) std::memcpy(words[c], x + c * ldx, sizeof words[c]);
  for (int r = 0; r < kTurned; r++) {
    uint32_t turned[kTurned];
    for (int c = 0; c < kTurned; c++) turned[c] = words[c][r];
    std::memcpy(y + r * ldy, turned, sizeof turned);
  }
}
#endif

void transposeWords(const uint32_t* x, int64_t ldx, uint32_t* y, int64_t ldy, int64_t rows, int64_t columns) {
  int64_t r = 0;
  for (; r + kTurned <= rows; r += kTurned) {
    int64_t c = 0;
    for (; c + kTurned <= columns; c += kTurned) turnBlock(x + c * ldx + r, ldx, y + r * ldy + c, ldy);
    for (; c < columns; c++) {
      for (int i = 0; i < kTurned; i++) y[(r + i) * ldy + c] = x[c * ldx + r + i];
    }
  }
  for (; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++) y[r * ldy + c] = x[c * ldx + r];
  }
}

}  // namespace elements
}  // namespace
