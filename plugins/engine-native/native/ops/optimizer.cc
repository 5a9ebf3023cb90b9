// AdamW and the norm of gradients, over all tensors of a model at once.
#include <cmath>
#include <cstring>

#include "registry.h"

namespace graft {

namespace {

// Elements that one thread takes at a time. Fixed, so that sums do not depend on the number of threads.
constexpr int64_t kBlock = 16384;

struct Block {
  size_t tensor;
  int64_t from;
  int64_t count;
};

std::vector<Block> blocksOf(const std::vector<int64_t>& sizes) {
  std::vector<Block> blocks;
  for (size_t tensor = 0; tensor < sizes.size(); tensor++) {
    for (int64_t from = 0; from < sizes[tensor]; from += kBlock) blocks.push_back({tensor, from, sizes[tensor] - from < kBlock ? sizes[tensor] - from : kBlock});
  }
  return blocks;
}

// The number of tensors, then each one's id and size; output: the 2-norm of all together, the 8 bytes of a double
void globalNorm(Runtime& rt, Args& args) {
  const auto count = static_cast<size_t>(args.integer());
  std::vector<const float*> tensors(count);
  std::vector<int64_t> sizes(count);
  for (size_t i = 0; i < count; i++) {
    tensors[i] = args.floats();
    sizes[i] = args.integer();
  }
  void* out = args.outputBytes(sizeof(double));
  const std::vector<Block> blocks = blocksOf(sizes);
  auto sums = rt.scratch<double>(blocks.size());
  rt.pool.run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
    const Block& block = blocks[static_cast<size_t>(i)];
    sums[static_cast<size_t>(i)] = rt.isa.rows.sumOfSquares(tensors[block.tensor] + block.from, block.count);
  });
  double sum = 0;
  for (size_t i = 0; i < blocks.size(); i++) sum += sums[i];
  const double norm = std::sqrt(sum);
  std::memcpy(out, &norm, sizeof norm);
}

// beta1, beta2, eps, step size, correction, scale; the moments [2, all elements]; the number of trainables, then for each: its id, its
// gradient's, its size, what decay leaves of it, and an output for its new value (-1: in place)
void adamw(Runtime& rt, Args& args) {
  AdamWStep step;
  for (double* number : {&step.beta1, &step.beta2, &step.eps, &step.stepSize, &step.correction, &step.scale}) *number = args.number();
  const Buffer* moments = args.tensor();
  const auto count = static_cast<size_t>(args.integer());
  struct Trainable {
    const float* gradient;
    float* value;
    float* next;
    int64_t offset;
    double decayed;
  };
  std::vector<Trainable> trainables(count);
  std::vector<int64_t> sizes(count);
  int64_t total = 0;
  for (size_t i = 0; i < count; i++) {
    Trainable& each = trainables[i];
    each.value = static_cast<float*>(args.tensor()->data);
    each.gradient = args.floats();
    each.offset = total;
    total += sizes[i] = args.integer();
    each.decayed = args.number();
    float* out = args.output(static_cast<size_t>(sizes[i]));
    each.next = out == nullptr ? each.value : out;
  }
  auto* first = static_cast<float*>(moments->data);
  float* second = first + total;
  const std::vector<Block> blocks = blocksOf(sizes);
  rt.pool.run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
    const Block& block = blocks[static_cast<size_t>(i)];
    const Trainable& of = trainables[block.tensor];
    const int64_t at = of.offset + block.from;
    rt.isa.rows.adamw(of.value + block.from, of.gradient + block.from, first + at, second + at, of.next + block.from, block.count, step, of.decayed);
  });
  // It may be of a trainable that has just changed in place.
  rt.packedLeft = {};
}

}  // namespace

const std::vector<NamedOperation> optimizerOperations = {{"globalNorm", globalNorm}, {"adamw", adamw}};

}  // namespace graft
