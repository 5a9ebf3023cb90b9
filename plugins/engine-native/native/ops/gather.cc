// Elements by their numbers, and to places by number. Numbers are checked before anything is made: an error is told when a result is read.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "axes.h"
#include "registry.h"

namespace graft {

namespace {

// Bytes that a thread moves at least.
constexpr int64_t kGrain = 131072;

// x [batch, outer, n, slice] of elements of some bytes, indices [batch, count]; y [batch, outer, count, slice]
void gather(Runtime& rt, Args& args) {
  const uint8_t* x = args.bytes();
  const int64_t size = args.integer(), batch = args.integer(), outer = args.integer(), n = args.integer(), slice = args.integer();
  const int32_t* indices = args.ints();
  const int64_t count = args.integer();
  for (int64_t i = 0; i < batch * count; i++) {
    if (indices[i] < 0 || indices[i] >= n) throw std::runtime_error("the index value " + std::to_string(indices[i]) + " is not in [0, " + std::to_string(n - 1) + "]");
  }
  const int64_t bytes = slice * size;
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(batch * outer * count * bytes)));
  rt.pool.ranges(batch * outer * count, kGrain / (bytes + 16) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      const int64_t row = i / count, index = indices[row / outer * count + i % count];
      std::memcpy(y + i * bytes, x + (row * n + index) * bytes, static_cast<size_t>(bytes));
    }
  });
}

// indices [count, rank] into the leading axes of a shape.
struct Places {
  const int32_t* indices;
  int64_t count;
  std::vector<int64_t> shape;
  // Axes that the indices name, and elements behind each place.
  int64_t rank, slice;

  explicit Places(Args& args) : indices(args.ints()), count(args.integer()), shape(args.integers()), rank(args.integer()), slice(1) {
    for (size_t axis = static_cast<size_t>(rank); axis < shape.size(); axis++) slice *= shape[axis];
    for (int64_t i = 0; i < count; i++) check(indices + i * rank);
  }
  int64_t elements() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>()); }
  // Of the slice's first element.
  int64_t at(int64_t i) const {
    int64_t place = 0;
    for (int64_t axis = 0; axis < rank; axis++) place = place * shape[static_cast<size_t>(axis)] + indices[i * rank + axis];
    return place * slice;
  }

 private:
  void check(const int32_t* index) const {
    for (int64_t axis = 0; axis < rank; axis++) {
      if (index[axis] >= 0 && index[axis] < shape[static_cast<size_t>(axis)]) continue;
      throw std::runtime_error("Invalid indices: " + list(index, rank) + " does not index into " + list(shape.data(), static_cast<int64_t>(shape.size())));
    }
  }
  template <class T>
  static std::string list(const T* values, int64_t n) {
    std::string text;
    for (int64_t i = 0; i < n; i++) text += (i > 0 ? "," : "") + std::to_string(values[i]);
    return text;
  }
};

// x, bytes of an element, places in x; y [count, slice]
void gatherNd(Runtime& rt, Args& args) {
  const uint8_t* x = args.bytes();
  const int64_t size = args.integer();
  const Places places(args);
  const int64_t bytes = places.slice * size;
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(places.count * bytes)));
  rt.pool.ranges(places.count, kGrain / (bytes + 16) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) std::memcpy(y + i * bytes, x + places.at(i) * size, static_cast<size_t>(bytes));
  });
}

// updates [count, slice], places in y; y: what falls on the same place is added up.
template <class T, class Wide>
void scatterNd(Runtime&, Args& args) {
  const auto* updates = reinterpret_cast<const T*>(args.bytes());
  const Places places(args);
  const auto elements = static_cast<size_t>(places.elements());
  auto* y = static_cast<T*>(args.outputBytes(elements * sizeof(T)));
  std::memset(y, 0, elements * sizeof(T));
  for (int64_t i = 0; i < places.count; i++) {
    T* to = y + places.at(i);
    for (int64_t j = 0; j < places.slice; j++) to[j] = static_cast<T>(static_cast<Wide>(to[j]) + static_cast<Wide>(updates[i * places.slice + j]));
  }
}

// x, bytes of an element, updates [count, slice], places in x; y: x with the updates in their places.
void scatterUpdate(Runtime&, Args& args) {
  const uint8_t* x = args.bytes();
  const int64_t size = args.integer();
  const uint8_t* updates = args.bytes();
  const Places places(args);
  const auto total = static_cast<size_t>(places.elements() * size);
  const int64_t bytes = places.slice * size;
  auto* y = static_cast<uint8_t*>(args.outputBytes(total));
  std::memcpy(y, x, total);
  for (int64_t i = 0; i < places.count; i++) std::memcpy(y + places.at(i) * size, updates + i * bytes, static_cast<size_t>(bytes));
}

// x [count, slice], segments [count], their number; y [segments, slice]. A number that is no segment's is passed over.
void segmentSum(Runtime& rt, Args& args) {
  const float* x = args.floats();
  const int32_t* segments = args.ints();
  const int64_t count = args.integer(), slice = args.integer(), n = args.integer();
  float* y = args.output(static_cast<size_t>(n * slice));
  // Each thread owns a range of columns: the order of a sum does not depend on their number.
  rt.pool.ranges(slice, count > 0 ? kGrain / (4 * count) + 16 : slice, [&](int64_t from, int64_t to, int) {
    for (int64_t i = 0; i < n; i++) std::memset(y + i * slice + from, 0, static_cast<size_t>(to - from) * 4);
    for (int64_t i = 0; i < count; i++) {
      if (segments[i] < 0 || segments[i] >= n) continue;
      for (int64_t j = from; j < to; j++) y[segments[i] * slice + j] += x[i * slice + j];
    }
  });
}

// indices, count, depth, the word for where it is and the word for elsewhere, bytes of an element; y [count, depth]
void oneHot(Runtime& rt, Args& args) {
  const int32_t* indices = args.ints();
  const int64_t count = args.integer(), depth = args.integer();
  const auto on = static_cast<uint32_t>(args.integer()), off = static_cast<uint32_t>(args.integer());
  const bool isWord = args.integer() == 4;
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(count * depth) * (isWord ? 4 : 1)));
  const auto put = [&](int64_t i, uint32_t word) {
    if (isWord) reinterpret_cast<uint32_t*>(y)[i] = word;
    else y[i] = static_cast<uint8_t>(word);
  };
  rt.pool.ranges(count, kGrain / (4 * depth + 1) + 1, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from * depth; i < to * depth; i++) put(i, off);
    for (int64_t i = from; i < to; i++) {
      if (indices[i] >= 0 && indices[i] < depth) put(i * depth + indices[i], on);
    }
  });
}

// x [rows, n], k; values [rows, k] from the largest on, equal ones in their order, NaN last, and their places [rows, k]
template <class T>
void topK(Runtime& rt, Args& args) {
  const auto* x = reinterpret_cast<const T*>(args.bytes());
  const int64_t rows = args.integer(), n = args.integer(), k = args.integer();
  auto* values = static_cast<T*>(args.outputBytes(static_cast<size_t>(rows * k) * sizeof(T)));
  auto* places = static_cast<int32_t*>(args.outputBytes(static_cast<size_t>(rows * k) * 4));
  const int64_t threads = rt.pool.threads();
  auto order = rt.scratch<int32_t>(static_cast<size_t>(n * threads));
  rt.pool.ranges(rows, kGrain / (n * 16 + 1) + 1, [&](int64_t from, int64_t to, int worker) {
    int32_t* own = order.get() + n * worker;
    for (int64_t row = from; row < to; row++) {
      const T* at = x + row * n;
      std::iota(own, own + n, 0);
      std::partial_sort(own, own + k, own + n, [at](int32_t a, int32_t b) {
        const bool aIs = at[a] == at[a], bIs = at[b] == at[b];
        if (aIs != bIs) return aIs;
        return at[a] == at[b] || !aIs ? a < b : at[a] > at[b];
      });
      for (int64_t i = 0; i < k; i++) {
        values[row * k + i] = at[own[i]];
        places[row * k + i] = own[i];
      }
    }
  });
}

// conditions [count], x and z [count, slice], bytes of an element; y: x where the condition is true, else z.
void select(Runtime& rt, Args& args) {
  const uint8_t* conditions = args.bytes();
  const uint8_t *x = args.bytes(), *z = args.bytes();
  const int64_t size = args.integer(), count = args.integer(), slice = args.integer();
  auto* y = static_cast<uint8_t*>(args.outputBytes(static_cast<size_t>(count * slice * size)));
  const int64_t bytes = slice * size;
  rt.pool.ranges(count, kGrain / (bytes + 1) + 1, [&](int64_t from, int64_t to, int) {
    if (bytes == 4) {
      const auto *xs = reinterpret_cast<const uint32_t*>(x), *zs = reinterpret_cast<const uint32_t*>(z);
      auto* ys = reinterpret_cast<uint32_t*>(y);
      for (int64_t i = from; i < to; i++) ys[i] = conditions[i] != 0 ? xs[i] : zs[i];
      return;
    }
    for (int64_t i = from; i < to; i++) std::memcpy(y + i * bytes, (conditions[i] != 0 ? x : z) + i * bytes, static_cast<size_t>(bytes));
  });
}

}  // namespace

const std::vector<NamedOperation> gatherOperations = {
    {"GatherV2", gather},
    {"GatherNd", gatherNd},
    {"ScatterNd", scatterNd<float, float>},
    {"ScatterNdInts", scatterNd<int32_t, uint32_t>},
    {"TensorScatterUpdate", scatterUpdate},
    {"UnsortedSegmentSum", segmentSum},
    {"OneHot", oneHot},
    {"TopK", topK<float>},
    {"TopKInts", topK<int32_t>},
    {"Select", select},
};

}  // namespace graft
