// Elements to other places: transposes, slices, repetition, padding, joining. Elements are 4 bytes long, or 1 for bool.
#include <algorithm>
#include <cstring>

#include "axes.h"
#include "registry.h"

namespace graft {

namespace {

// Elements that a thread takes at least.
constexpr int64_t kGrain = 32768;

// The axes of a result with the step along each in the source, merged where both go on alike.
struct Axes {
  int rank = 0;
  int64_t size[kMostAxes], step[kMostAxes];
  int64_t elements = 1;

  explicit Axes(Args& args) {
    const auto sizes = args.integers(), steps = args.integers();
    if (sizes.size() > kMostAxes || steps.size() != sizes.size()) throw std::runtime_error("tensors of more than 8 axes are not moved");
    for (size_t i = 0; i < sizes.size(); i++) {
      elements *= sizes[i];
      if (sizes[i] == 1) continue;
      if (rank > 0 && step[rank - 1] == steps[i] * sizes[i]) {
        size[rank - 1] *= sizes[i];
        step[rank - 1] = steps[i];
      } else {
        size[rank] = sizes[i];
        step[rank++] = steps[i];
      }
    }
    if (rank == 0) {
      size[0] = step[0] = 1;
      rank = 1;
    }
  }
};

template <class T>
void copyRun(const T* x, int64_t step, T* y, int64_t n) {
  if (step == 1) std::memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
  else for (int64_t i = 0; i < n; i++) y[i] = x[i * step];
}

template <class T>
void copyRuns(Runtime& rt, const Axes& axes, const T* x, T* y) {
  const int last = axes.rank - 1;
  const int64_t n = axes.size[last], step = axes.step[last];
  rt.pool.ranges(axes.elements, kGrain, [&](int64_t from, int64_t to, int) {
    Odometer<1> at(last, axes.size, {axes.step}, from / n);
    for (int64_t i = from; i < to; at.next()) {
      const int64_t begin = i % n, count = std::min(n - begin, to - i);
      copyRun(x + at.offset[0] + begin * step, step, y + i, count);
      i += count;
    }
  });
}

// Where another axis is the source's innermost: the two are turned, block by block, for every position of the rest.
void turn(Runtime& rt, const Axes& axes, int inner, const uint32_t* x, uint32_t* y) {
  constexpr int64_t kRows = 64;
  const int last = axes.rank - 1;
  int64_t size[kMostAxes], step[kMostAxes], out[kMostAxes], outStep[kMostAxes];
  int64_t stride = 1;
  for (int axis = last; axis >= 0; axis--) {
    outStep[axis] = stride;
    stride *= axes.size[axis];
  }
  int rest = 0;
  int64_t count = 1;
  for (int axis = 0; axis < last; axis++) {
    if (axis == inner) continue;
    size[rest] = axes.size[axis];
    step[rest] = axes.step[axis];
    out[rest++] = outStep[axis];
    count *= axes.size[axis];
  }
  const int64_t rows = axes.size[inner], columns = axes.size[last], ldx = axes.step[last], ldy = outStep[inner];
  const int64_t parts = (rows + kRows - 1) / kRows;
  rt.pool.ranges(count * parts, kGrain / (std::min(rows, kRows) * columns) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      const Odometer<2> at(rest, size, {step, out}, i / parts);
      const int64_t row = i % parts * kRows;
      rt.isa.elements.transpose(x + at.offset[0] + row, ldx, y + at.offset[1] + row * ldy, ldy, std::min(kRows, rows - row), columns);
    }
  });
}

// x, bytes of an element, where to begin, sizes of the result's axes, steps along them in x; y
void move(Runtime& rt, Args& args) {
  const void* x = args.tensor()->data;
  const int64_t size = args.integer(), begin = args.integer();
  const Axes axes(args);
  void* y = args.outputBytes(static_cast<size_t>(axes.elements * size));
  if (axes.elements == 0) return;
  if (size == 1) {
    copyRuns(rt, axes, static_cast<const uint8_t*>(x) + begin, static_cast<uint8_t*>(y));
    return;
  }
  const auto* words = static_cast<const uint32_t*>(x) + begin;
  const int last = axes.rank - 1;
  const int64_t* inner = std::find(axes.step, axes.step + last, 1);
  if (axes.step[last] > 1 && inner != axes.step + last) turn(rt, axes, static_cast<int>(inner - axes.step), words, static_cast<uint32_t*>(y));
  else copyRuns(rt, axes, words, static_cast<uint32_t*>(y));
}

// Bytes of an element, the element as a word, x, x's shape, y's shape, where x begins on each axis; y
void pad(Runtime& rt, Args& args) {
  const int64_t size = args.integer();
  const auto word = static_cast<uint32_t>(args.integer());
  const void* x = args.tensor()->data;
  const auto from = args.integers(), to = args.integers(), begin = args.integers();
  int64_t total = 1, elements = 1;
  for (const int64_t n : to) total *= n;
  for (const int64_t n : from) elements *= n;
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(total * size)));
  rt.pool.ranges(total, kGrain, [&](int64_t first, int64_t end, int) {
    if (size == 1) std::memset(y + first, static_cast<int>(word), static_cast<size_t>(end - first));
    else for (int64_t i = first; i < end; i++) reinterpret_cast<uint32_t*>(y)[i] = word;
  });
  if (elements == 0) return;
  // Axes behind the last padded one go along as one run.
  size_t rank = from.size();
  int64_t run = 1;
  while (rank > 0 && from[rank - 1] == to[rank - 1]) run *= from[--rank];
  if (rank > 0) run *= from[--rank];
  int64_t steps[kMostAxes] = {}, stride = 1, start = 0;
  for (size_t axis = from.size(); axis-- > 0;) {
    if (axis < rank) steps[axis] = stride;
    start += begin[axis] * stride;
    stride *= to[axis];
  }
  rt.pool.ranges(elements / run, kGrain / run + 1, [&](int64_t first, int64_t end, int) {
    Odometer<1> at(static_cast<int>(rank), from.data(), {steps}, first);
    for (int64_t i = first; i < end; i++, at.next()) std::memcpy(y + (start + at.offset[0]) * size, static_cast<const uint8_t*>(x) + i * run * size, static_cast<size_t>(run * size));
  });
}

// Bytes of an element, outer, count of the parts, of each its tensor [outer, n] and n; y [outer, sum of n]
void concat(Runtime& rt, Args& args) {
  struct Part {
    const uint8_t* x;
    int64_t bytes;
  };
  const int64_t size = args.integer(), outer = args.integer(), count = args.integer();
  auto parts = rt.scratch<Part>(static_cast<size_t>(count));
  int64_t width = 0;
  for (int64_t i = 0; i < count; i++) {
    const uint8_t* x = args.bytes();
    const int64_t bytes = args.integer() * size;
    parts[static_cast<size_t>(i)] = Part{x, bytes};
    width += bytes;
  }
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(outer * width)));
  if (outer == 1) {
    for (int64_t i = 0; i < count; y += parts[static_cast<size_t>(i++)].bytes) {
      const Part& part = parts[static_cast<size_t>(i)];
      rt.pool.ranges(part.bytes, 4 * kGrain, [&](int64_t from, int64_t to, int) { std::memcpy(y + from, part.x + from, static_cast<size_t>(to - from)); });
    }
    return;
  }
  rt.pool.ranges(outer, 4 * kGrain / (width > 0 ? width : 1) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t row = from; row < to; row++) {
      uint8_t* at = y + row * width;
      for (int64_t i = 0; i < count; i++) {
        const Part& part = parts[static_cast<size_t>(i)];
        std::memcpy(at, part.x + row * part.bytes, static_cast<size_t>(part.bytes));
        at += part.bytes;
      }
    }
  });
}

}  // namespace

const std::vector<NamedOperation> moveOperations = {{"move", move}, {"PadV2", pad}, {"Concat", concat}};

}  // namespace graft
