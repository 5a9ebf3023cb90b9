// RMSNorm, rotary embedding, SwiGLU and dropout.
#include <cstring>

#include "registry.h"

namespace graft {

namespace {

// Elements below which a range is not worth a thread.
constexpr int64_t kGrain = 16384;

int64_t rowGrain(int64_t size) { return size >= kGrain ? 1 : kGrain / (size > 0 ? size : 1); }

// x, w, rows, size, eps; outputs y [rows, size], r [rows] (-1: not wanted)
void rmsNorm(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const float* w = args.floats();
  const int64_t rows = args.integer(), size = args.integer();
  const float eps = args.real();
  float* y = args.output(static_cast<size_t>(rows * size));
  float* r = args.output(static_cast<size_t>(rows));
  rt.pool.ranges(rows, rowGrain(size), [&](int64_t from, int64_t to, int) {
    rt.isa.rows.rmsNorm(x + from * size, w, y + from * size, r == nullptr ? nullptr : r + from, to - from, size, eps);
  });
}

// dy, x, w, r, rows, size; outputs dx [rows, size], dw [size] (-1: not wanted)
void rmsNormBackward(Runtime& rt, Args& args) {
  const float* dy = args.floats();
  const float* x = args.floats();
  const float* w = args.floats();
  const float* r = args.floats();
  const int64_t rows = args.integer(), size = args.integer();
  float* dx = args.output(static_cast<size_t>(rows * size));
  float* dw = args.output(static_cast<size_t>(size));
  // Each part sums its own rows, and the parts are added up in order: the same bits however the threads take turns.
  int64_t parts = rows / rowGrain(size);
  const int64_t most = rt.pool.threads() == 1 ? 1 : int64_t{rt.pool.threads()} * 4;
  parts = parts < 1 ? 1 : parts > most ? most : parts;
  auto sums = rt.scratch<float>(dw == nullptr ? 0 : static_cast<size_t>(parts * size));
  rt.pool.run(parts, [&](int64_t part, int) {
    const int64_t from = rows * part / parts, to = rows * (part + 1) / parts;
    float* own = dw == nullptr ? nullptr : sums.get() + part * size;
    if (own != nullptr) std::memset(own, 0, static_cast<size_t>(size) * 4);
    rt.isa.rows.rmsNormBackward(dy + from * size, x + from * size, w, r + from, dx == nullptr ? nullptr : dx + from * size, own, to - from, size);
  });
  if (dw == nullptr) return;
  std::memcpy(dw, sums.get(), static_cast<size_t>(size) * 4);
  for (int64_t part = 1; part < parts; part++) {
    for (int64_t i = 0; i < size; i++) dw[i] += sums[static_cast<size_t>(part * size + i)];
  }
}

// x, cos, sin, tokens, heads, half, sign (1, or -1 for the backward); output y [tokens, heads, 2 half]
void rope(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const float* cos = args.floats();
  const float* sin = args.floats();
  const int64_t tokens = args.integer(), heads = args.integer(), half = args.integer();
  const float sign = args.real();
  const int64_t row = heads * 2 * half;
  float* y = args.output(static_cast<size_t>(tokens * row));
  rt.pool.ranges(tokens, rowGrain(row), [&](int64_t from, int64_t to, int) {
    rt.isa.rows.rope(x + from * row, cos + from * half, sin + from * half, y + from * row, to - from, heads, half, sign);
  });
}

// gate, up, n; output y [n]
void swiglu(Runtime& rt, Args& args) {
  const float* gate = args.floats();
  const float* up = args.floats();
  const int64_t n = args.integer();
  float* y = args.output(static_cast<size_t>(n));
  rt.pool.ranges(n, kGrain, [&](int64_t from, int64_t to, int) { rt.isa.rows.swiglu(gate + from, up + from, y + from, to - from); });
}

// dy, gate, up, n; outputs dgate, dup [n] (-1: not wanted)
void swigluBackward(Runtime& rt, Args& args) {
  const float* dy = args.floats();
  const float* gate = args.floats();
  const float* up = args.floats();
  const int64_t n = args.integer();
  float* dgate = args.output(static_cast<size_t>(n));
  float* dup = args.output(static_cast<size_t>(n));
  rt.pool.ranges(n, kGrain, [&](int64_t from, int64_t to, int) {
    rt.isa.rows.swigluBackward(dy + from, gate + from, up + from, dgate == nullptr ? nullptr : dgate + from, dup == nullptr ? nullptr : dup + from, to - from);
  });
}

// x, n, the key's two words, threshold of 2^32, what kept elements are multiplied by; output y [n]
void dropout(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const int64_t n = args.integer();
  const auto low = static_cast<uint32_t>(args.integer()), high = static_cast<uint32_t>(args.integer());
  const int64_t threshold = args.integer();
  const float kept = args.real();
  float* y = args.output(static_cast<size_t>(n));
  // A rate that rounds to 1 keeps nothing.
  const bool keepsSome = threshold < int64_t{1} << 32;
  const auto least = static_cast<uint32_t>(keepsSome ? threshold : 0);
  rt.pool.ranges(n, kGrain, [&](int64_t from, int64_t to, int) {
    rt.isa.rows.dropout(x + from, y + from, to - from, static_cast<uint32_t>(from), low, high, least, keepsSome ? kept : 0);
  });
}

}  // namespace

const std::vector<NamedOperation> rowOperations = {
    {"rmsNorm", rmsNorm}, {"rmsNormBackward", rmsNormBackward}, {"rope", rope}, {"swiglu", swiglu}, {"swigluBackward", swigluBackward}, {"dropout", dropout},
};

}  // namespace graft
