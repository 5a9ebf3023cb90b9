#include "weight.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "../runtime/arena.h"
#include "../runtime/pool.h"
#include "ceil-div.h"
#include "quantized.h"

namespace graft {

namespace {

// Numbers that are converted at a time.
constexpr int64_t kStrip = 256;
constexpr float kLargestF16 = 65504;

size_t sizeOf(Stored stored) { return stored == Stored::f32 ? 4 : 2; }

}  // namespace

// Some room behind: vectors are read whole.
OwnedStorage::OwnedStorage(size_t bytes) : bytes_(bytes), taken_(bytes + 128) { data_ = takeBlock(taken_); }

OwnedStorage::~OwnedStorage() { giveBlock(data_, taken_); }

size_t Weight::bytes() const {
  size_t sum = storage == nullptr ? 0 : storage->bytes();
  for (const auto* part : {scales.get(), absmax.get(), absmaxScales.get()}) sum += part == nullptr ? 0 : part->bytes();
  return sum;
}

void Weight::pack(const Isa& isa, Pool& pool) {
  if (packed || !packable || (format != Format::f32 && format != Format::bf16)) return;
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const int64_t panels = ceilDiv(rows, nr);
  const bool wide = format == Format::f32;
  // Bytes of a panel.
  const size_t stride = wide ? static_cast<size_t>(columns * nr) * 4 : static_cast<size_t>((columns + 1) / 2 * nr) * 4;
  auto made = std::make_unique<OwnedStorage>(stride * static_cast<size_t>(panels));
  auto* to = static_cast<char*>(made->writable());
  pool.run(panels, [&](int64_t panel, int) {
    const int count = static_cast<int>(rows - panel * nr < nr ? rows - panel * nr : nr);
    char* out = to + stride * static_cast<size_t>(panel);
    if (wide) kernels.panelAcross(static_cast<const float*>(storage->data()) + panel * nr * columns, columns, columns, count, reinterpret_cast<float*>(out));
    else kernels.panelAcrossBf16(static_cast<const uint16_t*>(storage->data()) + panel * nr * columns, columns, columns, count, reinterpret_cast<uint16_t*>(out));
  });
  storage = std::move(made);
  packed = true;
}

void widenStored(const Isa& isa, const void* from, Stored stored, int64_t offset, int64_t count, float* out) {
  switch (stored) {
    case Stored::f32: std::memcpy(out, static_cast<const float*>(from) + offset, static_cast<size_t>(count) * 4); return;
    case Stored::bf16: isa.gemm.fromBf16(static_cast<const uint16_t*>(from) + offset, out, count); return;
    case Stored::f16: isa.quant.fromF16(static_cast<const uint16_t*>(from) + offset, out, count); return;
  }
}

void Weight::read(const Isa& isa, int64_t row, int64_t from, int64_t count, float* out) const {
  if (packed) {
    const int nr = isa.gemm.nr;
    const int64_t panel = row / nr, column = row % nr;
    if (format == Format::f32) {
      const float* at = static_cast<const float*>(storage->data()) + (panel * columns + from) * nr + column;
      for (int64_t i = 0; i < count; i++) out[i] = at[i * nr];
    } else {
      const uint16_t* at = static_cast<const uint16_t*>(storage->data()) + panel * ((columns + 1) / 2) * nr * 2;
      for (int64_t i = 0; i < count; i++) {
        const int64_t k = from + i;
        const uint32_t bits = static_cast<uint32_t>(at[(k / 2 * nr + column) * 2 + k % 2]) << 16;
        std::memcpy(out + i, &bits, 4);
      }
    }
    return;
  }
  storage->reading();
  switch (format) {
    case Format::f32: widenStored(isa, storage->data(), Stored::f32, row * columns + from, count, out); return;
    case Format::bf16: widenStored(isa, storage->data(), Stored::bf16, row * columns + from, count, out); return;
    case Format::f16: widenStored(isa, storage->data(), Stored::f16, row * columns + from, count, out); return;
    case Format::int8: readInt8(*this, isa, row, from, count, out); return;
    case Format::nf4: readNf4(*this, isa, row, from, count, out); return;
  }
}

void Weight::readBf16(const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out) const {
  if (format == Format::int8) readInt8(*this, isa, row, from, count, out);
  else readNf4(*this, isa, row, from, count, out);
}

namespace {

// Every number through float32, where the format differs from the checkpoint's.
std::unique_ptr<OwnedStorage> convert(const Isa& isa, Pool& pool, const Storage& source, Stored stored, Format format, int64_t rows, int64_t columns) {
  const size_t size = format == Format::f32 ? 4 : 2;
  auto made = std::make_unique<OwnedStorage>(static_cast<size_t>(rows * columns) * size);
  std::atomic<bool> tooLarge{false};
  pool.ranges(rows, 16, [&](int64_t from, int64_t to, int) {
    float strip[kStrip];
    for (int64_t at = from * columns; at < to * columns; at += kStrip) {
      const int64_t count = to * columns - at < kStrip ? to * columns - at : kStrip;
      widenStored(isa, source.data(), stored, at, count, strip);
      auto* halves = static_cast<uint16_t*>(made->writable()) + at;
      if (format == Format::f32) {
        std::memcpy(static_cast<float*>(made->writable()) + at, strip, static_cast<size_t>(count) * 4);
      } else if (format == Format::bf16) {
        isa.gemm.toBf16(strip, halves, count);
      } else {
        if (!(isa.quant.largestMagnitude(strip, count) <= kLargestF16)) tooLarge = true;
        isa.quant.toF16(strip, halves, count);
      }
    }
  });
  if (tooLarge) throw std::runtime_error("it has numbers beyond 65504, the largest of f16");
  return made;
}

}  // namespace

std::unique_ptr<Weight> makeWeight(const Isa& isa, Pool& pool, std::unique_ptr<Storage> source, Stored stored, Format format, int64_t rows, int64_t columns) {
  if (source->bytes() < static_cast<size_t>(rows * columns) * sizeOf(stored)) throw std::runtime_error("it has fewer bytes than its shape needs");
  auto weight = std::make_unique<Weight>();
  weight->rows = rows;
  weight->columns = columns;
  weight->format = format;
  switch (format) {
    case Format::int8: quantizeInt8(*weight, isa, pool, *source, stored); break;
    case Format::nf4: quantizeNf4(*weight, isa, pool, *source, stored); break;
    default:
      if (static_cast<int>(format) == static_cast<int>(stored)) weight->storage = std::move(source);
      else weight->storage = convert(isa, pool, *source, stored, format, rows, columns);
  }
  return weight;
}

}  // namespace graft
