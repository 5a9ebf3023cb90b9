// See gemm.h for what each function computes.
#include "gemm-pack.inl.h"
#include "gemm-tile.inl.h"
#include "gemm-thin.inl.h"

namespace {

void fromBf16(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, widen(loadHalf(x + i)));
  for (; i < n; i++) y[i] = bf16ToFloat(x[i]);
}

void toBf16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) storeHalf(y + i, narrow(load(x + i)));
  for (; i < n; i++) y[i] = floatToBf16(x[i]);
}

inline float f16ToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  uint32_t bits;
  float f;
  if (magnitude >= 0x7c00u) {
    bits = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
  } else {
    // The exponent's bias is put right by a product, which also normalises what is below the smallest normal number.
    const uint32_t shifted = magnitude << 13;
    std::memcpy(&f, &shifted, 4);
    f *= 5.192296858534828e33f;  // 2^112
    std::memcpy(&bits, &f, 4);
    bits |= sign;
  }
  std::memcpy(&f, &bits, 4);
  return f;
}

void fromF16(const uint16_t* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = f16ToFloat(x[i]);
}

#if defined(__AVX512BF16__)
constexpr bool kComputesBf16 = true;
#else
constexpr bool kComputesBf16 = false;
#endif

const graft::GemmKernels gemmKernels = {
    kTileRows,       kTileColumns,  kComputesBf16,   packLeft,        packLeftBf16, panelDown, panelAcross, panelDownBf16, panelAcrossBf16,
    panelDownWide,   panelAcrossWide, panelTurned,   panelTurnedBf16, tile,         tileBf16,  thinRight,   thinLeft,      thinAcrossRow, fromBf16,
    toBf16,          fromF16,
};

}  // namespace
