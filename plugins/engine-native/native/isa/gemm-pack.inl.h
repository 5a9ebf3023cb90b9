// Both sides of a product in the order in which tiles read them: see gemm.h for what each function computes.

namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileColumns = 2 * kLanes;

#if defined(__AVX512F__)
// Rows of 16 words -> columns, in registers.
inline void turn16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
#endif

void packLeft(const float* a, int64_t rowStride, int64_t columnStride, int rows, int64_t k, float* out) {
  if (columnStride != 1) {
    for (int64_t j = 0; j < k; j++) {
      for (int i = 0; i < rows; i++) out[j * rows + i] = a[i * rowStride + j * columnStride];
    }
    return;
  }
  // Sixteen columns at a time: each row's cache line is read once.
  int64_t j = 0;
#if defined(__AVX512F__)
  const auto inside = static_cast<__mmask16>((1u << rows) - 1);
  for (; j + 16 <= k; j += 16) {
    __m512i r[16];
    for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_loadu_si512(a + i * rowStride + j) : _mm512_setzero_si512();
    turn16(r);
    for (int l = 0; l < 16; l++) _mm512_mask_storeu_epi32(out + (j + l) * rows, inside, r[l]);
  }
#endif
  for (; j + 16 <= k; j += 16) {
    for (int i = 0; i < rows; i++) {
      const float* from = a + i * rowStride + j;
      float* to = out + j * rows + i;
      for (int l = 0; l < 16; l++) to[l * rows] = from[l];
    }
  }
  for (; j < k; j++) {
    for (int i = 0; i < rows; i++) out[j * rows + i] = a[i * rowStride + j];
  }
}

void packLeftBf16(const float* a, int64_t rowStride, int64_t columnStride, int rows, int64_t k, uint16_t* out) {
  int64_t j = 0;
  if (columnStride == 1) {
#if defined(__AVX512F__)
    // A pair along k is one word.
    const auto inside = static_cast<__mmask16>((1u << rows) - 1);
    for (; j + 32 <= k; j += 32) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) {
        r[i] = _mm512_setzero_si512();
        if (i >= rows) continue;
        const float* from = a + i * rowStride + j;
        const HalfVec first = narrow(load(from)), second = narrow(load(from + 16));
        r[i] = _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)first), (__m256i)second, 1);
      }
      turn16(r);
      for (int l = 0; l < 16; l++) _mm512_mask_storeu_epi32(out + (j + 2 * l) * rows, inside, r[l]);
    }
#endif
    for (; j + kLanes <= k; j += kLanes) {
      for (int i = 0; i < rows; i++) {
        const HalfVec narrowed = narrow(load(a + i * rowStride + j));
        uint32_t pairs[kLanes / 2];
        std::memcpy(pairs, &narrowed, sizeof pairs);
        uint16_t* to = out + j * rows + 2 * i;
        for (int l = 0; l < kLanes / 2; l++) std::memcpy(to + l * 2 * rows, &pairs[l], 4);
      }
    }
  }
  for (; j < k; j += 2) {
    for (int i = 0; i < rows; i++) {
      out[j * rows + 2 * i] = floatToBf16(a[i * rowStride + j * columnStride]);
      out[j * rows + 2 * i + 1] = j + 1 < k ? floatToBf16(a[i * rowStride + (j + 1) * columnStride]) : 0;
    }
  }
}

void panelDown(const float* b, int64_t ld, int64_t k, int columns, float* out) {
  if (columns == kTileColumns) {
    for (int64_t j = 0; j < k; j++, b += ld, out += kTileColumns) {
      store(out, load(b));
      store(out + kLanes, load(b + kLanes));
    }
    return;
  }
  for (int64_t j = 0; j < k; j++, b += ld, out += kTileColumns) {
    for (int c = 0; c < kTileColumns; c++) out[c] = c < columns ? b[c] : 0;
  }
}

// 32-bit words, whatever they hold: in [columns][k], ld words apart -> out [k][kTileColumns].
inline void turnWords(const uint32_t* b, int64_t ld, int64_t k, int columns, uint32_t* out) {
  int64_t j = 0;
#if defined(__AVX512F__)
  for (; j + 16 <= k; j += 16) {
    for (int half = 0; half < kTileColumns; half += 16) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) r[i] = half + i < columns ? _mm512_loadu_si512(b + (half + i) * ld + j) : _mm512_setzero_si512();
      turn16(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + (j + i) * kTileColumns + half, r[i]);
    }
  }
#else
  for (; j + 8 <= k; j += 8) {
    for (int c = 0; c < kTileColumns; c++) {
      for (int l = 0; l < 8; l++) out[(j + l) * kTileColumns + c] = c < columns ? b[c * ld + j + l] : 0;
    }
  }
#endif
  for (; j < k; j++) {
    for (int c = 0; c < kTileColumns; c++) out[j * kTileColumns + c] = c < columns ? b[c * ld + j] : 0;
  }
}

void panelAcross(const float* b, int64_t ld, int64_t k, int columns, float* out) {
  turnWords(reinterpret_cast<const uint32_t*>(b), ld, k, columns, reinterpret_cast<uint32_t*>(out));
}

void panelDownBf16(const uint16_t* b, int64_t ld, int64_t k, int columns, uint16_t* out) {
  for (int64_t j = 0; j < k; j += 2, out += 2 * kTileColumns) {
    const uint16_t* first = b + j * ld;
    const uint16_t* second = first + ld;
    const bool paired = j + 1 < k;
    if (columns == kTileColumns && paired) {
      for (int c = 0; c < kTileColumns; c += kLanes) {
        const WordVec low = __builtin_convertvector(loadHalf(first + c), WordVec);
        const WordVec high = __builtin_convertvector(loadHalf(second + c), WordVec) << 16;
        const WordVec both = low | high;
        std::memcpy(out + 2 * c, &both, sizeof both);
      }
    } else {
      for (int c = 0; c < kTileColumns; c++) {
        out[2 * c] = c < columns ? first[c] : 0;
        out[2 * c + 1] = c < columns && paired ? second[c] : 0;
      }
    }
  }
}

void panelAcrossBf16(const uint16_t* b, int64_t ld, int64_t k, int columns, uint16_t* out) {
  // A pair along k is one word, where rows begin on whole words.
  const int64_t pairs = k / 2;
  if (ld % 2 == 0 && reinterpret_cast<uintptr_t>(b) % 4 == 0) {
    turnWords(reinterpret_cast<const uint32_t*>(b), ld / 2, pairs, columns, reinterpret_cast<uint32_t*>(out));
  } else {
    for (int64_t j = 0; j < pairs; j++) {
      for (int c = 0; c < kTileColumns; c++) {
        out[(j * kTileColumns + c) * 2] = c < columns ? b[c * ld + 2 * j] : 0;
        out[(j * kTileColumns + c) * 2 + 1] = c < columns ? b[c * ld + 2 * j + 1] : 0;
      }
    }
  }
  if (k % 2 == 1) {
    for (int c = 0; c < kTileColumns; c++) {
      out[(pairs * kTileColumns + c) * 2] = c < columns ? b[c * ld + k - 1] : 0;
      out[(pairs * kTileColumns + c) * 2 + 1] = 0;
    }
  }
}

void panelDownWide(const uint16_t* b, int64_t ld, int64_t k, int columns, float* out) {
  for (int64_t j = 0; j < k; j++, b += ld, out += kTileColumns) {
    if (columns == kTileColumns) {
      store(out, widen(loadHalf(b)));
      store(out + kLanes, widen(loadHalf(b + kLanes)));
    } else {
      for (int c = 0; c < kTileColumns; c++) out[c] = c < columns ? bf16ToFloat(b[c]) : 0;
    }
  }
}

void panelAcrossWide(const uint16_t* b, int64_t ld, int64_t k, int columns, float* out) {
  // A strip of each row widened, then turned.
  constexpr int kStrip = 64;
  float strip[kTileColumns * kStrip];
  for (int64_t j = 0; j < k; j += kStrip) {
    const int count = static_cast<int>(k - j < kStrip ? k - j : kStrip);
    for (int c = 0; c < columns; c++) {
      int l = 0;
      for (; l + kLanes <= count; l += kLanes) store(strip + c * kStrip + l, widen(loadHalf(b + c * ld + j + l)));
      for (; l < count; l++) strip[c * kStrip + l] = bf16ToFloat(b[c * ld + j + l]);
    }
    panelAcross(strip, kStrip, count, columns, out + j * kTileColumns);
  }
}

inline void prefetchLines(const void* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + i);
}

void panelTurned(const float* panels, int64_t k, int64_t n0, int64_t n, int64_t k0, int columns, float* out) {
  // Row n of the matrix is column n % nr of panel n / nr; n0 begins a panel.
  for (int64_t done = 0; done < n; done += kTileColumns) {
    const float* panel = panels + ((n0 + done) / kTileColumns * k + k0) * kTileColumns;
    const int count = static_cast<int>(n - done < kTileColumns ? n - done : kTileColumns);
    // The next lies a panel away, where the processor does not look by itself.
    if (done + kTileColumns < n) prefetchLines(panel + k * kTileColumns, columns * kTileColumns * 4);
    // [columns][nr] -> [count][nr]
    turnWords(reinterpret_cast<const uint32_t*>(panel), kTileColumns, count, columns, reinterpret_cast<uint32_t*>(out) + done * kTileColumns);
  }
}

void panelTurnedBf16(const uint16_t* panels, int64_t k, int64_t n0, int64_t n, int64_t k0, int columns, uint16_t* out) {
  // The packed pairs run along k, the wanted ones along n: [k / 2][nr][2] -> [n / 2][nr][2].
  const int64_t stride = (k + 1) / 2 * kTileColumns * 2;
  for (int64_t done = 0; done < n; done += kTileColumns) {
    const uint16_t* panel = panels + (n0 + done) / kTileColumns * stride + k0 / 2 * kTileColumns * 2;
    const int count = static_cast<int>(n - done < kTileColumns ? n - done : kTileColumns);
    uint16_t* to = out + done * kTileColumns;
#if defined(__AVX512F__)
    // Words (k pair p, row n): turned to (n, p), then rows n and n + 1 are woven into pairs.
    if (columns == kTileColumns) {
      const int pairs = (count + 1) / 2;
      for (int half = 0; half < kTileColumns; half += 16) {
        __m512i words[16];
        for (int p = 0; p < 16; p++) words[p] = _mm512_loadu_si512(panel + p * kTileColumns * 2 + 2 * half);
        turn16(words);
        // words[i]: of row half + i, the 16 pairs of k.
        for (int i = 0; i < 16 && (half + i) / 2 < pairs; i += 2) {
          const __m512i low = _mm512_and_si512(words[i], _mm512_set1_epi32(0xffff));
          const __m512i even = _mm512_or_si512(low, _mm512_slli_epi32(words[i + 1], 16));
          const __m512i odd = _mm512_or_si512(_mm512_srli_epi32(words[i], 16), _mm512_andnot_si512(_mm512_set1_epi32(0xffff), words[i + 1]));
          const __m512i first = _mm512_permutex2var_epi32(even, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), odd);
          const __m512i second = _mm512_permutex2var_epi32(even, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), odd);
          uint16_t* row = to + (half + i) / 2 * kTileColumns * 2;
          _mm512_storeu_si512(row, first);
          _mm512_storeu_si512(row + 32, second);
        }
      }
      continue;
    }
#endif
    for (int i = 0; i < count + count % 2; i++) {
      for (int c = 0; c < kTileColumns; c++) {
        const bool inside = i < count && c < columns;
        to[(i / 2 * kTileColumns + c) * 2 + i % 2] = inside ? panel[(c / 2 * kTileColumns + i) * 2 + c % 2] : 0;
      }
    }
  }
}

}  // namespace
