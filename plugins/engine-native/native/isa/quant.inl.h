// See quant.h for what each function computes.

namespace {

float largestMagnitude(const float* x, int64_t n) {
  Vec most = {}, spoiled = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec v = load(x + i);
    most = larger(most, larger(v, -v));
    // 0 of what is finite, else NaN.
    spoiled += v - v;
  }
  float largest = largestOf(most), rest = sumOf(spoiled);
  for (; i < n; i++) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    largest = magnitude > largest ? magnitude : largest;
    rest += x[i] - x[i];
  }
  return largest + rest;
}

typedef int8_t ByteVec __attribute__((vector_size(kLanes)));

void toInt8(const float* x, float scale, int8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const Vec v = count == kLanes ? load(x + i) : loadSome(x + i, count);
    const Vec rounded = nearest(v / all(scale));
    const ByteVec bytes = __builtin_convertvector(__builtin_convertvector(smaller(larger(rounded, all(-127.0f)), all(127.0f)), IntVec), ByteVec);
    std::memcpy(out + i, &bytes, static_cast<size_t>(count));
  }
}

inline Vec widenInt8(const int8_t* x) {
  ByteVec bytes;
  std::memcpy(&bytes, x, sizeof bytes);
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)bytes));
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&bytes))));
#else
  return asFloat(__builtin_convertvector(bytes, IntVec));
#endif
}

void fromInt8(const int8_t* x, float scale, float* out, int64_t n) {
  const Vec by = all(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, widenInt8(x + i) * by);
  for (; i < n; i++) out[i] = static_cast<float>(x[i]) * scale;
}

void int8ToBf16(const int8_t* x, float scale, uint16_t* out, int64_t n) {
  const Vec by = all(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) storeHalf(out + i, narrow(widenInt8(x + i) * by));
  for (; i < n; i++) out[i] = floatToBf16(static_cast<float>(x[i]) * scale);
}

// A number's code is how many midpoints between neighbouring values lie below it.
inline float nf4Midpoint(int i) { return static_cast<float>((static_cast<double>(graft::kNf4Values[i]) + static_cast<double>(graft::kNf4Values[i + 1])) / 2); }

void toNf4(const float* x, float inverse, uint8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const Vec v = (count == kLanes ? load(x + i) : loadSome(x + i, count)) * all(inverse);
    IntVec code = {};
#pragma GCC unroll 15
    for (int m = 0; m < 15; m++) code -= v > all(nf4Midpoint(m));
    const ByteVec bytes = __builtin_convertvector(code, ByteVec);
    std::memcpy(out + i, &bytes, static_cast<size_t>(count));
  }
}

inline float blockAbsmax(const graft::Nf4& from, int64_t block) {
  return from.map[from.absmax[block]] * from.absmaxScales[block / graft::kNf4AbsmaxBlock] + from.absmaxOffset;
}

inline int codeAt(const uint8_t* codes, int64_t i) { return i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15; }

// One block's elements [first, first + n), first even, as float32.
inline void decodeBlock(const uint8_t* codes, int64_t first, int n, float absmax, float* out) {
  const uint8_t* from = codes + first / 2;
  int i = 0;
#if defined(__AVX512F__)
  const __m512 values = _mm512_mul_ps(_mm512_loadu_ps(graft::kNf4Values), _mm512_set1_ps(absmax));
  for (; i + 16 <= n; i += 16) {
    // A byte in each 8: its high bits for the first 4, itself, of which a permutation reads the low bits, for the second.
    const __m512i bytes = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i / 2)));
    const __m512i codes16 = _mm512_or_si512(_mm512_srli_epi64(bytes, 4), _mm512_slli_epi64(bytes, 32));
    _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(codes16, values));
  }
#elif defined(__AVX2__)
  const __m256 by = _mm256_set1_ps(absmax);
  const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(graft::kNf4Values), by), high = _mm256_mul_ps(_mm256_loadu_ps(graft::kNf4Values + 8), by);
  for (; i + 8 <= n; i += 8) {
    int word;
    std::memcpy(&word, from + i / 2, 4);
    const __m256i bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(word));
    const __m256i codes8 = _mm256_or_si256(_mm256_srli_epi64(bytes, 4), _mm256_slli_epi64(bytes, 32));
    const __m256 isHigh = _mm256_castsi256_ps(_mm256_slli_epi32(codes8, 28));
    _mm256_storeu_ps(out + i, _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes8), _mm256_permutevar8x32_ps(high, codes8), isHigh));
  }
#endif
  if (i >= n) return;
  float table[16];
  for (int c = 0; c < 16; c++) table[c] = graft::kNf4Values[c] * absmax;
  for (; i + 2 <= n; i += 2) {
    const int byte = from[i / 2];
    out[i] = table[byte >> 4];
    out[i + 1] = table[byte & 15];
  }
  if (i < n) out[i] = table[from[i / 2] >> 4];
}

// The same rounded to bf16.
inline void decodeBlock(const uint8_t* codes, int64_t first, int n, float absmax, uint16_t* out) {
#if defined(__AVX512BW__)
  const uint8_t* from = codes + first / 2;
  alignas(64) uint16_t table[32];
  const Vec values = load(graft::kNf4Values) * all(absmax);
  storeHalf(table, narrow(values));
  // Twice, so that a code may have any fifth bit.
  std::memcpy(table + 16, table, 32);
  const __m512i both = _mm512_load_si512(table);
  int i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i / 2)));
    const __m512i codes32 = _mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(bytes, 16));
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(codes32, both));
  }
  for (; i < n; i++) out[i] = table[codeAt(from, i)];
#else
  float wide[graft::kNf4Block];
  decodeBlock(codes, first, n, absmax, wide);
  for (int i = 0; i < n; i++) out[i] = floatToBf16(wide[i]);
#endif
}

inline void roundTo(float value, float* out) { *out = value; }
inline void roundTo(float value, uint16_t* out) { *out = floatToBf16(value); }

template <class Number>
inline void decodeNf4(const graft::Nf4& from, int64_t first, int64_t n, Number* out) {
  const int64_t end = first + n;
  while (first < end) {
    const int64_t block = first / graft::kNf4Block;
    const int64_t stop = (block + 1) * graft::kNf4Block < end ? (block + 1) * graft::kNf4Block : end;
    const float absmax = blockAbsmax(from, block);
    if (first % 2 == 1) {
      roundTo(graft::kNf4Values[codeAt(from.codes, first)] * absmax, out++);
      first++;
    }
    decodeBlock(from.codes, first, static_cast<int>(stop - first), absmax, out);
    out += stop - first;
    first = stop;
  }
}

void fromNf4(const graft::Nf4& from, int64_t first, int64_t n, float* out) { decodeNf4(from, first, n, out); }
void nf4ToBf16(const graft::Nf4& from, int64_t first, int64_t n, uint16_t* out) { decodeNf4(from, first, n, out); }

void weavePairs(const uint16_t* first, const uint16_t* second, uint16_t* out) {
  for (int c = 0; c < kTileColumns; c += kLanes) {
    const WordVec pairs = __builtin_convertvector(loadHalf(first + c), WordVec) | __builtin_convertvector(loadHalf(second + c), WordVec) << 16;
    std::memcpy(out + 2 * c, &pairs, sizeof pairs);
  }
}

#if defined(__AVX512BW__) && defined(__AVX512F__)
// A whole panel's width of a row, within one block and from an even element on.
inline __m512i nf4Row(const graft::Nf4& from, int64_t first) {
  const Vec values = load(graft::kNf4Values) * all(blockAbsmax(from, first / graft::kNf4Block));
  // The table twice, so that a code may have any fifth bit.
  const __m512i table = _mm512_broadcast_i64x4((__m256i)narrow(values));
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from.codes + first / 2)));
  return _mm512_permutexvar_epi16(_mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(bytes, 16)), table);
}
#endif

void nf4Down(const graft::Nf4& from, int64_t first, int64_t stride, int64_t k, int columns, uint16_t* out) {
  int64_t j = 0;
#if defined(__AVX512BW__) && defined(__AVX512F__)
  // Rows that begin blocks have their columns at the same place in one.
  if (columns == kTileColumns && stride % graft::kNf4Block == 0 && first % kTileColumns == 0) {
    alignas(64) uint16_t order[2][32];
    for (int c = 0; c < 32; c++) {
      order[0][c] = static_cast<uint16_t>(c / 2 + c % 2 * 32);
      order[1][c] = static_cast<uint16_t>(16 + c / 2 + c % 2 * 32);
    }
    const __m512i low = _mm512_load_si512(order[0]), high = _mm512_load_si512(order[1]);
    for (; j + 2 <= k; j += 2, out += 2 * kTileColumns) {
      const int64_t at = first + j * stride, ahead = at + 12 * stride;
      __builtin_prefetch(from.codes + ahead / 2);
      __builtin_prefetch(from.codes + (ahead + stride) / 2);
      const __m512i even = nf4Row(from, at), odd = nf4Row(from, at + stride);
      _mm512_storeu_si512(out, _mm512_permutex2var_epi16(even, low, odd));
      _mm512_storeu_si512(out + kTileColumns, _mm512_permutex2var_epi16(even, high, odd));
    }
  }
#endif
  for (; j < k; j += 2, out += 2 * kTileColumns) {
    uint16_t pair[2][kTileColumns] = {};
    decodeNf4(from, first + j * stride, columns, pair[0]);
    if (j + 1 < k) decodeNf4(from, first + (j + 1) * stride, columns, pair[1]);
    weavePairs(pair[0], pair[1], out);
  }
}

#if defined(__AVX512F__)
void toF16(const float* x, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = static_cast<__mmask16>(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
    _mm256_mask_storeu_epi16(out + i, lanes, _mm512_cvtps_ph(_mm512_maskz_loadu_ps(lanes, x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}
void widenF16(const uint16_t* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = static_cast<__mmask16>(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
    _mm512_mask_storeu_ps(out + i, lanes, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, x + i)));
  }
}
#else
// Halves of a number have its sign, 5 bits of exponent with a bias of 15, and 10 of its 23 bits of fraction.
inline uint16_t floatToF16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14 halves are whole multiples of 2^-24: adding 0.5, whose last bit is worth that, rounds to one.
    float whole;
    std::memcpy(&whole, &magnitude, 4);
    whole += 0.5f;
    uint32_t fraction;
    std::memcpy(&fraction, &whole, 4);
    return static_cast<uint16_t>(sign | (fraction - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}
void toF16(const float* x, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = floatToF16(x[i]);
}

inline Vec widenHalves(HalfVec h) {
  const WordVec bits = __builtin_convertvector(h, WordVec);
  const WordVec magnitude = bits & 0x7fffu;
  // The exponent's bias is put right by a product with 2^112, which also normalises what is below the smallest normal number.
  const WordVec finite = (WordVec)((Vec)(magnitude << 13) * all(5.192296858534828e33f));
  const WordVec isFinite = (WordVec)(magnitude < 0x7c00u);
  return (Vec)((finite & isFinite) | ((magnitude << 13 | 0x7f800000u) & ~isFinite) | (bits & 0x8000u) << 16);
}
void widenF16(const uint16_t* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#if defined(__AVX2__)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
#else
    store(out + i, widenHalves(loadHalf(x + i)));
#endif
  }
  if (i == n) return;
  uint16_t rest[kLanes] = {};
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * 2);
  storeSome(out + i, widenHalves(loadHalf(rest)), static_cast<int>(n - i));
}
#endif

void widenPairs(const uint16_t* panel, int64_t k, float* out) {
  for (int64_t j = 0; j < k; j += 2, panel += 2 * kTileColumns, out += 2 * kTileColumns) {
    for (int c = 0; c < kTileColumns; c += kLanes) {
      WordVec pairs;
      std::memcpy(&pairs, panel + 2 * c, sizeof pairs);
      store(out + c, (Vec)(pairs << 16));
      if (j + 1 < k) store(out + kTileColumns + c, (Vec)(pairs & 0xffff0000u));
    }
  }
}

const graft::QuantKernels quantKernels = {
    largestMagnitude, toInt8, fromInt8, int8ToBf16, toNf4, fromNf4, nf4ToBf16, nf4Down, toF16, widenF16, widenPairs, weavePairs,
};

}  // namespace
