// Attention of new tokens over keys and values that are kept from pass to pass, in pages (Kwon et al. 2023, PagedAttention): see
// core/tensor/portable-cached-attention.ts, which is the definition. A page has room for so many tokens of one text in every layer:
// [layers][keys, values][tokens][key heads * size].
#include <algorithm>
#include <cstring>

#include "attention-forward.h"
#include "registry.h"

namespace graft {

namespace {

using namespace attentionPlan;

// Pages as they lie.
struct PageShape {
  int64_t layer, tokens, width;
  float* keys(float* page) const { return page + layer * 2 * tokens * width; }
  float* values(float* page) const { return keys(page) + tokens * width; }
};

// New tokens from `row` on, `length` tokens before them in the pages.
struct Segment {
  int64_t row, n, length;
  bool keep;
  std::vector<float*> pages;
};

// The new tokens' keys and values into the pages, behind those that are there.
void store(const Segment& segment, const PageShape& shape, const float* k, const float* v) {
  const int64_t width = shape.width;
  for (int64_t i = 0; i < segment.n;) {
    const int64_t token = segment.length + i, at = token % shape.tokens, count = std::min(segment.n - i, shape.tokens - at);
    float* page = segment.pages[static_cast<size_t>(token / shape.tokens)];
    const auto bytes = static_cast<size_t>(count * width) * sizeof(float);
    std::memcpy(shape.keys(page) + at * width, k + (segment.row + i) * width, bytes);
    std::memcpy(shape.values(page) + at * width, v + (segment.row + i) * width, bytes);
    i += count;
  }
}

// All keys and values of a segment in one piece.
void gather(Runtime& rt, const Segment& segment, const PageShape& shape, const float* k, const float* v, float* allKeys, float* allValues) {
  const int64_t width = shape.width, pages = ceilDiv(segment.length, shape.tokens);
  rt.pool.run(pages + 1, [&](int64_t i, int) {
    const bool isNew = i == pages;
    const int64_t from = isNew ? segment.length : i * shape.tokens, count = isNew ? segment.n : std::min(shape.tokens, segment.length - from);
    float* page = isNew ? nullptr : segment.pages[static_cast<size_t>(i)];
    const auto bytes = static_cast<size_t>(count * width) * sizeof(float);
    std::memcpy(allKeys + from * width, isNew ? k + segment.row * width : shape.keys(page), bytes);
    std::memcpy(allValues + from * width, isNew ? v + segment.row * width : shape.values(page), bytes);
  });
}

// q, k, v, heads, key heads, size, scale, window (0: none), layer, tokens of a page, the number of segments and for each: its new tokens,
// tokens in its pages, whether the new ones are stored, the number of its pages and these; output [queries, heads, size].
void attentionCached(Runtime& rt, Args& args) {
  const float* q = args.floats();
  const float* k = args.floats();
  const float* v = args.floats();
  const int64_t heads = args.integer(), keyHeads = args.integer(), size = args.integer();
  const float scale = args.real();
  const int64_t window = args.integer(), layer = args.integer(), pageTokens = args.integer();
  const PageShape shape{layer, pageTokens, keyHeads * size};
  const int64_t group = heads / keyHeads;
  std::vector<Segment> segments(static_cast<size_t>(args.integer()));
  int64_t row = 0;
  for (Segment& segment : segments) {
    segment.row = row;
    segment.n = args.integer();
    segment.length = args.integer();
    segment.keep = args.flag();
    segment.pages.resize(static_cast<size_t>(args.integer()));
    for (float*& page : segment.pages) page = const_cast<float*>(args.floats());
    row += segment.n;
    if (segment.keep) store(segment, shape, k, v);
  }
  float* out = args.output(static_cast<size_t>(row * heads * size));
  const AttentionKernels& kernels = rt.isa.attention;
  const int64_t roomFloats = kernels.room(size);
  auto room = rt.scratch<float>(static_cast<size_t>(roomFloats * rt.pool.threads()));

  std::vector<Located> few, many;
  std::vector<FewPart> parts;
  std::vector<Scratch<float>> gathered;
  int64_t place = 0, keys = 0;
  for (const Segment& segment : segments) {
    if (segment.n == 0) continue;
    const int64_t m = segment.length + segment.n;
    const bool isFew = segment.keep && segment.n * group <= kernels.fewRows;
    const float* allKeys = k + segment.row * shape.width;
    const float* allValues = v + segment.row * shape.width;
    if (!isFew && segment.length > 0) {
      gathered.push_back(rt.scratch<float>(static_cast<size_t>(2 * m * shape.width)));
      float* memory = gathered.back().get();
      gather(rt, segment, shape, k, v, memory, memory + m * shape.width);
      allKeys = memory;
      allValues = memory + m * shape.width;
    }
    for (int64_t head = 0; head < keyHeads; head++) {
      Located located{};
      located.queryOffset = (segment.row * heads + head * group) * size;
      AttentionPair& pair = located.pair;
      pair.q = q + located.queryOffset;
      pair.n = segment.n;
      pair.m = m;
      pair.size = size;
      pair.group = group;
      pair.queryStride = heads * size;
      pair.keyStride = shape.width;
      pair.window = window > 0 ? std::min(window, kNoWindow) : kNoWindow;
      pair.scale = scale;
      pair.k = allKeys + head * size;
      pair.v = allValues + head * size;
      if (!isFew) {
        many.push_back(located);
        continue;
      }
      for (int64_t page = pair.firstKey(0) / pageTokens; page * pageTokens < m; page++) {
        FewPart part{few.size(), pair, 0, std::min(pageTokens, m - page * pageTokens), place};
        float* memory = segment.pages[static_cast<size_t>(page)];
        part.seen.k = shape.keys(memory) + head * size;
        part.seen.v = shape.values(memory) + head * size;
        part.seen.m = m - page * pageTokens;
        parts.push_back(part);
        place += partialFloats(pair);
      }
      few.push_back(located);
      keys += m;
    }
  }
  const auto pointers = [](const std::vector<Located>& list) {
    std::vector<const Located*> made;
    for (const Located& located : list) made.push_back(&located);
    return made;
  };
  if (!few.empty()) forwardParts(rt, pointers(few), parts, keys, heads, room.get(), roomFloats, out, nullptr);
  forwardMany(rt, pointers(many), heads, size, room.get(), roomFloats, out, nullptr);
}

// Floats; output a page.
void makePage(Runtime&, Args& args) {
  const int64_t floats = args.integer();
  args.output(static_cast<size_t>(floats));
}

// A page, planes of it, floats of a plane, floats to copy of each; output the copy.
void copyPage(Runtime&, Args& args) {
  const float* from = args.floats();
  const int64_t planes = args.integer(), planeFloats = args.integer(), floats = args.integer();
  float* to = args.output(static_cast<size_t>(planes * planeFloats));
  for (int64_t plane = 0; plane < planes; plane++) std::memcpy(to + plane * planeFloats, from + plane * planeFloats, static_cast<size_t>(floats) * sizeof(float));
}

}  // namespace

const std::vector<NamedOperation> attentionCachedOperations = {{"attentionCached", attentionCached}, {"makePage", makePage}, {"copyPage", copyPage}};

}  // namespace graft
