#include "weight.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "../runtime/pool.h"
#include "quantized.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace graft {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Columns of a row that are decoded at a time on the way into a panel.
constexpr int64_t kStrip = 256;

size_t sizeOf(Stored stored) { return stored == Stored::f32 ? 4 : 2; }

int64_t panelsOf(int64_t n, int nr) { return (n + nr - 1) / nr; }

}  // namespace

OwnedStorage::OwnedStorage(size_t bytes) : data_(nullptr), bytes_(bytes) {
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  // Some room behind: vectors are read whole.
  if (posix_memalign(&data_, alignment, bytes + 128) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= 2 * kHugePage) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
}

OwnedStorage::~OwnedStorage() { std::free(data_); }

size_t Weight::bytes() const {
  size_t sum = storage == nullptr ? 0 : storage->bytes();
  for (const auto* part : {scales.get(), absmax.get(), absmaxScales.get()}) sum += part == nullptr ? 0 : part->bytes();
  return sum;
}

void Weight::pack(const Isa& isa, Pool& pool) {
  if (packed || !packable || (format != Format::f32 && format != Format::bf16)) return;
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const int64_t panels = panelsOf(rows, nr);
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
    case Stored::f16: isa.gemm.fromF16(static_cast<const uint16_t*>(from) + offset, out, count); return;
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
  switch (format) {
    case Format::f32: widenStored(isa, storage->data(), Stored::f32, row * columns + from, count, out); return;
    case Format::bf16: widenStored(isa, storage->data(), Stored::bf16, row * columns + from, count, out); return;
    case Format::f16: widenStored(isa, storage->data(), Stored::f16, row * columns + from, count, out); return;
    case Format::int8: readInt8(*this, isa, row, from, count, out); return;
    case Format::nf4: readNf4(*this, isa, row, from, count, out); return;
  }
}

size_t Weight::scratchBytes(const Isa& isa, int64_t k) {
  const size_t panel = static_cast<size_t>((k + 1) * isa.gemm.nr) * 4;
  const size_t strip = static_cast<size_t>(isa.gemm.nr * kStrip) * 6;
  return panel + strip + 256;
}

const void* Weight::acrossPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const bool bf16 = computesBf16(isa);
  if (packed && format == Format::f32) return static_cast<const float*>(storage->data()) + (n0 / nr * columns + k0) * nr;
  if (packed && bf16) return static_cast<const uint16_t*>(storage->data()) + (n0 / nr * ((columns + 1) / 2) + k0 / 2) * nr * 2;
  if (packed) {
    // Packed in bf16 for float32 sums: [pair][nr][2] -> [k][nr].
    const uint16_t* from = static_cast<const uint16_t*>(storage->data()) + (n0 / nr * ((columns + 1) / 2) + k0 / 2) * nr * 2;
    auto* out = static_cast<float*>(scratch);
    for (int64_t j = 0; j < k; j++) {
      for (int c = 0; c < nr; c++) {
        const uint32_t bits = static_cast<uint32_t>(from[(j / 2 * nr + c) * 2 + j % 2]) << 16;
        std::memcpy(out + j * nr + c, &bits, 4);
      }
    }
    return scratch;
  }
  if (format == Format::f32) {
    kernels.panelAcross(static_cast<const float*>(storage->data()) + n0 * columns + k0, columns, k, n, static_cast<float*>(scratch));
  } else if (format == Format::bf16 && bf16) {
    kernels.panelAcrossBf16(static_cast<const uint16_t*>(storage->data()) + n0 * columns + k0, columns, k, n, static_cast<uint16_t*>(scratch));
  } else if (format == Format::bf16) {
    kernels.panelAcrossWide(static_cast<const uint16_t*>(storage->data()) + n0 * columns + k0, columns, k, n, static_cast<float*>(scratch));
  } else {
    auto* panel = static_cast<char*>(scratch);
    auto* strip = reinterpret_cast<float*>(panel + (static_cast<size_t>((k + 1) * nr) * 4 + 63) / 64 * 64);
    auto* narrow = reinterpret_cast<uint16_t*>(strip + nr * kStrip);
    for (int64_t from = 0; from < k; from += kStrip) {
      const int64_t count = k - from < kStrip ? k - from : kStrip;
      for (int row = 0; row < n; row++) read(isa, n0 + row, k0 + from, count, strip + row * kStrip);
      if (bf16) {
        for (int row = 0; row < n; row++) kernels.toBf16(strip + row * kStrip, narrow + row * kStrip, count);
        kernels.panelAcrossBf16(narrow, kStrip, count, n, reinterpret_cast<uint16_t*>(panel) + from * nr);
      } else {
        kernels.panelAcross(strip, kStrip, count, n, reinterpret_cast<float*>(panel) + from * nr);
      }
    }
  }
  return scratch;
}

const void* Weight::downPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const {
  const GemmKernels& kernels = isa.gemm;
  const int nr = kernels.nr;
  const bool bf16 = computesBf16(isa);
  if (packed && format == Format::f32) {
    kernels.panelTurned(static_cast<const float*>(storage->data()), columns, k0, k, n0, n, static_cast<float*>(scratch));
  } else if (packed && bf16) {
    kernels.panelTurnedBf16(static_cast<const uint16_t*>(storage->data()), columns, k0, k, n0, n, static_cast<uint16_t*>(scratch));
  } else if (packed) {
    const auto* from = static_cast<const uint16_t*>(storage->data());
    auto* out = static_cast<float*>(scratch);
    for (int64_t j = 0; j < k; j++) {
      const int64_t row = k0 + j;
      const uint16_t* at = from + row / nr * ((columns + 1) / 2) * nr * 2;
      for (int c = 0; c < nr; c++) {
        const int64_t column = n0 + c;
        const uint32_t bits = c < n ? static_cast<uint32_t>(at[(column / 2 * nr + row % nr) * 2 + column % 2]) << 16 : 0;
        std::memcpy(out + j * nr + c, &bits, 4);
      }
    }
  } else if (format == Format::f32) {
    kernels.panelDown(static_cast<const float*>(storage->data()) + k0 * columns + n0, columns, k, n, static_cast<float*>(scratch));
  } else if (format == Format::bf16 && bf16) {
    kernels.panelDownBf16(static_cast<const uint16_t*>(storage->data()) + k0 * columns + n0, columns, k, n, static_cast<uint16_t*>(scratch));
  } else if (format == Format::bf16) {
    kernels.panelDownWide(static_cast<const uint16_t*>(storage->data()) + k0 * columns + n0, columns, k, n, static_cast<float*>(scratch));
  } else {
    float row[64] = {};
    uint16_t narrow[2][64] = {};
    for (int64_t j = 0; j < k; j++) {
      if (!bf16) {
        float* out = static_cast<float*>(scratch) + j * nr;
        read(isa, k0 + j, n0, n, out);
        for (int c = n; c < nr; c++) out[c] = 0;
        continue;
      }
      read(isa, k0 + j, n0, n, row);
      for (int c = n; c < nr; c++) row[c] = 0;
      kernels.toBf16(row, narrow[j % 2], nr);
      if (j % 2 == 0 && j + 1 < k) continue;
      if (j % 2 == 0) std::memset(narrow[1], 0, sizeof narrow[1]);
      uint16_t* out = static_cast<uint16_t*>(scratch) + j / 2 * nr * 2;
      for (int c = 0; c < nr; c++) {
        out[2 * c] = narrow[0][c];
        out[2 * c + 1] = narrow[1][c];
      }
    }
  }
  return scratch;
}

namespace {

// Every number through float32 and back, where the format differs from the checkpoint's.
std::unique_ptr<OwnedStorage> convert(const Isa& isa, Pool& pool, const Storage& source, Stored stored, Format format, int64_t rows, int64_t columns) {
  const size_t size = format == Format::f32 ? 4 : 2;
  auto made = std::make_unique<OwnedStorage>(static_cast<size_t>(rows * columns) * size);
  pool.ranges(rows, 16, [&](int64_t from, int64_t to, int) {
    float strip[kStrip];
    for (int64_t at = from * columns; at < to * columns; at += kStrip) {
      const int64_t count = to * columns - at < kStrip ? to * columns - at : kStrip;
      widenStored(isa, source.data(), stored, at, count, strip);
      if (format == Format::f32) std::memcpy(static_cast<float*>(made->writable()) + at, strip, static_cast<size_t>(count) * 4);
      else isa.gemm.toBf16(strip, static_cast<uint16_t*>(made->writable()) + at, count);
    }
  });
  return made;
}

}  // namespace

std::unique_ptr<Weight> makeWeight(const Isa& isa, Pool& pool, std::unique_ptr<Storage> source, Stored stored, Format format, int64_t rows, int64_t columns) {
  if (source->bytes() < static_cast<size_t>(rows * columns) * sizeOf(stored)) throw std::runtime_error("a frozen weight has fewer bytes than its shape needs");
  auto weight = std::make_unique<Weight>();
  weight->rows = rows;
  weight->columns = columns;
  weight->format = format;
  switch (format) {
    case Format::int8: quantizeInt8(*weight, isa, pool, *source, stored); break;
    case Format::nf4: quantizeNf4(*weight, isa, pool, *source, stored); break;
    case Format::f16:
      if (stored != Stored::f16) {
        // A number kept in 16 bits is kept as bf16, which products are fast at.
        weight->format = stored == Stored::bf16 ? Format::bf16 : Format::f32;
      }
      weight->storage = std::move(source);
      break;
    default:
      if (static_cast<int>(format) == static_cast<int>(stored)) weight->storage = std::move(source);
      else weight->storage = convert(isa, pool, *source, stored, format, rows, columns);
  }
  return weight;
}

}  // namespace graft
