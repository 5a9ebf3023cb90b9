// Rows of a matrix by number, and a frozen weight's values.
#include <cstring>

#include "registry.h"
#include "weight.h"

namespace graft {

namespace {

// weight id; out [rows, columns]
void readWeight(Runtime& rt, Args& args) {
  const Weight* weight = args.weight();
  float* out = args.output(static_cast<size_t>(weight->rows * weight->columns));
  rt.pool.ranges(weight->rows, 16, [&](int64_t from, int64_t to, int) {
    for (int64_t row = from; row < to; row++) weight->read(rt.isa, row, 0, weight->columns, out + row * weight->columns);
  });
}

// matrix (kind, id), its rows and columns, ids (int32), their count; out [count, columns]
void embedding(Runtime& rt, Args& args) {
  const bool frozen = args.integer() == 0;
  const Weight* weight = frozen ? args.weight() : nullptr;
  const float* tensor = frozen ? nullptr : args.floats();
  const int64_t rows = args.integer(), columns = args.integer();
  const int32_t* ids = args.ints();
  const int64_t count = args.integer();
  for (int64_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= rows) throw std::runtime_error("row " + std::to_string(ids[i]) + " is outside a table of " + std::to_string(rows));
  }
  float* out = args.output(static_cast<size_t>(count * columns));
  rt.pool.ranges(count, 8, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; i++) {
      if (frozen) weight->read(rt.isa, ids[i], 0, columns, out + i * columns);
      else std::memcpy(out + i * columns, tensor + ids[i] * columns, static_cast<size_t>(columns) * 4);
    }
  });
}

// dy [count, columns], ids, count, rows, columns; out [rows, columns]
void embeddingBackward(Runtime& rt, Args& args) {
  const float* dy = args.floats();
  const int32_t* ids = args.ints();
  const int64_t count = args.integer(), rows = args.integer(), columns = args.integer();
  float* out = args.output(static_cast<size_t>(rows * columns));
  // Each thread owns a range of columns, so that rows that occur twice add up without locks, in one order.
  rt.pool.ranges(columns, 16, [&](int64_t from, int64_t to, int) {
    for (int64_t row = 0; row < rows; row++) std::memset(out + row * columns + from, 0, static_cast<size_t>(to - from) * 4);
    for (int64_t i = 0; i < count; i++) {
      for (int64_t j = from; j < to; j++) out[ids[i] * columns + j] += dy[i * columns + j];
    }
  });
}

}  // namespace

const std::vector<NamedOperation> lookupOperations = {{"readWeight", readWeight}, {"embedding", embedding}, {"embeddingBackward", embeddingBackward}};

}  // namespace graft
