#include "quantized.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "../runtime/pool.h"

namespace graft {

namespace {

// Numbers that are widened at a time.
constexpr int64_t kStrip = 1024;
// The code of 0.
constexpr uint8_t kNf4Zero = 7;

void refuseWhere(bool notFinite, const char* format) {
  if (notFinite) throw std::runtime_error(std::string("it has numbers that are not finite, and can't be kept in ") + format);
}

}  // namespace

void quantizeInt8(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored) {
  const int64_t rows = weight.rows, columns = weight.columns;
  auto codes = std::make_unique<OwnedStorage>(static_cast<size_t>(rows * columns));
  auto scales = std::make_unique<OwnedStorage>(static_cast<size_t>(rows) * 4);
  std::atomic<bool> notFinite{false};
  pool.ranges(rows, 1, [&](int64_t first, int64_t end, int) {
    float strip[kStrip];
    for (int64_t row = first; row < end; row++) {
      float most = 0;
      for (int64_t at = 0; at < columns; at += kStrip) {
        const int64_t count = std::min(kStrip, columns - at);
        widenStored(isa, source.data(), stored, row * columns + at, count, strip);
        const float largest = isa.quant.largestMagnitude(strip, count);
        if (!std::isfinite(largest)) notFinite = true;
        most = std::max(most, largest);
      }
      const float scale = most / 127;
      static_cast<float*>(scales->writable())[row] = scale;
      for (int64_t at = 0; at < columns; at += kStrip) {
        const int64_t count = std::min(kStrip, columns - at);
        widenStored(isa, source.data(), stored, row * columns + at, count, strip);
        isa.quant.toInt8(strip, scale > 0 ? scale : 1, static_cast<int8_t*>(codes->writable()) + row * columns + at, count);
      }
    }
  });
  refuseWhere(notFinite, "int8");
  weight.storage = std::move(codes);
  weight.scales = std::move(scales);
}

void readInt8(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out) {
  isa.quant.fromInt8(static_cast<const int8_t*>(weight.storage->data()) + row * weight.columns + from, static_cast<const float*>(weight.scales->data())[row], out, count);
}

void readInt8(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out) {
  isa.quant.int8ToBf16(static_cast<const int8_t*>(weight.storage->data()) + row * weight.columns + from, static_cast<const float*>(weight.scales->data())[row], out, count);
}

namespace {

// bitsandbytes' create_dynamic_map(signed=True): for each exponent 10^-6 .. 10^0, twice as many fractions as for the one before, in the
// middles of equal steps from 0.1 to 1, with both signs; and 0 and 1 (Dettmers 2016, arXiv:1511.04561).
std::array<float, 256> dynamicMap() {
  std::array<float, 256> map{};
  size_t count = 0;
  for (int exponent = 0; exponent < 7; exponent++) {
    const int fractions = 1 << exponent;
    const float step = (1.0f - 0.1f) / static_cast<float>(fractions);
    const auto boundary = [&](int i) {
      return i < (fractions + 1) / 2 ? 0.1f + step * static_cast<float>(i) : 1.0f - step * static_cast<float>(fractions - i);
    };
    const auto scale = static_cast<float>(std::pow(10.0, exponent - 6));
    for (int i = 0; i < fractions; i++) {
      const float middle = scale * ((boundary(i) + boundary(i + 1)) / 2);
      map[count++] = middle;
      map[count++] = -middle;
    }
  }
  map[count++] = 0;
  map[count++] = 1;
  std::sort(map.begin(), map.end());
  return map;
}

const std::array<float, 256>& map() {
  static const std::array<float, 256> made = dynamicMap();
  return made;
}

// Of two that are equally near, the lower.
uint8_t nearestInMap(float x) {
  const auto& values = map();
  const auto above = std::lower_bound(values.begin(), values.end(), x);
  if (above == values.begin()) return 0;
  const auto index = static_cast<uint8_t>(above - values.begin() - 1);
  if (above == values.end()) return index;
  return x - *(above - 1) <= *above - x ? index : static_cast<uint8_t>(index + 1);
}

Nf4 nf4Of(const Weight& weight) {
  return {static_cast<const uint8_t*>(weight.storage->data()), static_cast<const uint8_t*>(weight.absmax->data()), static_cast<const float*>(weight.absmaxScales->data()), weight.absmaxOffset, map().data()};
}

// The absmax of each block as 8-bit codes of what it differs from their mean.
void compressAbsmax(Weight& weight, const std::vector<float>& absmax) {
  const size_t blocks = absmax.size(), groups = (blocks + kNf4AbsmaxBlock - 1) / kNf4AbsmaxBlock;
  double sum = 0;
  for (const float value : absmax) sum += static_cast<double>(value);
  weight.absmaxOffset = blocks == 0 ? 0 : static_cast<float>(sum / static_cast<double>(blocks));
  weight.absmax = std::make_unique<OwnedStorage>(blocks);
  weight.absmaxScales = std::make_unique<OwnedStorage>(groups * 4);
  auto* codes = static_cast<uint8_t*>(weight.absmax->writable());
  auto* scales = static_cast<float*>(weight.absmaxScales->writable());
  for (size_t group = 0; group < groups; group++) {
    const size_t first = group * kNf4AbsmaxBlock, end = std::min(blocks, first + kNf4AbsmaxBlock);
    float most = 0;
    for (size_t i = first; i < end; i++) most = std::max(most, std::abs(absmax[i] - weight.absmaxOffset));
    scales[group] = most;
    const float inverse = most < std::numeric_limits<float>::min() ? 0 : 1 / most;
    for (size_t i = first; i < end; i++) codes[i] = nearestInMap((absmax[i] - weight.absmaxOffset) * inverse);
  }
}

}  // namespace

void quantizeNf4(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored) {
  const int64_t size = weight.rows * weight.columns, blocks = (size + kNf4Block - 1) / kNf4Block;
  auto packed = std::make_unique<OwnedStorage>(static_cast<size_t>((size + 1) / 2));
  std::vector<float> absmax(static_cast<size_t>(blocks));
  std::atomic<bool> notFinite{false};
  pool.ranges(blocks, 64, [&](int64_t first, int64_t end, int) {
    for (int64_t block = first; block < end; block++) {
      float values[kNf4Block];
      uint8_t codes[kNf4Block] = {};
      const int64_t from = block * kNf4Block, count = std::min<int64_t>(kNf4Block, size - from);
      widenStored(isa, source.data(), stored, from, count, values);
      const float most = isa.quant.largestMagnitude(values, count);
      if (!std::isfinite(most)) notFinite = true;
      absmax[static_cast<size_t>(block)] = most;
      if (most < std::numeric_limits<float>::min()) std::fill_n(codes, count, kNf4Zero);
      else isa.quant.toNf4(values, 1 / most, codes, count);
      auto* to = static_cast<uint8_t*>(packed->writable()) + from / 2;
      for (int64_t i = 0; i < count; i += 2) to[i / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
    }
  });
  refuseWhere(notFinite, "nf4");
  weight.storage = std::move(packed);
  compressAbsmax(weight, absmax);
}

void readNf4(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out) {
  isa.quant.fromNf4(nf4Of(weight), row * weight.columns + from, count, out);
}

void readNf4(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out) {
  isa.quant.nf4ToBf16(nf4Of(weight), row * weight.columns + from, count, out);
}

void nf4DownPanel(const Weight& weight, const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, uint16_t* out) {
  isa.quant.nf4Down(nf4Of(weight), k0 * weight.columns + n0, weight.columns, k, n, out);
}

}  // namespace graft
