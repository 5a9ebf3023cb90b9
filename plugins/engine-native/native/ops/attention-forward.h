// The forward of attention over located pairs: those of few rows, whose keys are read as they lie, and those of many, whose keys are packed.
#pragma once
#include "attention-plan.h"

namespace graft::attentionPlan {

// Keys of a piece of few rows, at least.
constexpr int64_t kFewPiece = 512;

// Keys from .. to of pair number `pair`, which `seen` numbers from where they lie; `place` is of its partial result.
struct FewPart {
  size_t pair;
  AttentionPair seen;
  int64_t from, to, place;
};

// Floats of the partial result of one part.
inline int64_t partialFloats(const AttentionPair& pair) { return pair.rows() * (2 + pair.size); }

// `parts` in the order of their pairs, at least one for each; `keys` of all pairs together.
inline void forwardParts(Runtime& rt, const std::vector<const Located*>& pairs, const std::vector<FewPart>& parts, int64_t keys, int64_t heads, float* room, int64_t roomFloats, float* out, float* logSums) {
  const auto count = static_cast<int64_t>(parts.size());
  const int64_t floats = parts.empty() ? 0 : parts.back().place + partialFloats(parts.back().seen);
  auto partials = rt.scratch<float>(static_cast<size_t>(std::max<int64_t>(1, floats)));
  rt.pool.ranges(count, std::max<int64_t>(1, 64 * count / std::max<int64_t>(1, keys)), [&](int64_t from, int64_t to, int worker) {
    for (int64_t i = from; i < to; i++) {
      const FewPart& part = parts[static_cast<size_t>(i)];
      rt.isa.attention.few(part.seen, part.from, part.to, room + roomFloats * worker, partials.get() + part.place);
    }
  });
  for (size_t i = 0, next = 0; i < pairs.size(); i++) {
    const Located& located = *pairs[i];
    const size_t first = next;
    while (next < parts.size() && parts[next].pair == i) next++;
    float* sums = logSums == nullptr ? nullptr : logSums + located.logSumOffset;
    rt.isa.attention.combineFew(located.pair, partials.get() + parts[first].place, static_cast<int64_t>(next - first), out + located.queryOffset, sums, heads);
  }
}

// Pairs of few rows: their keys are cut, since one token against a long cache is all there is to do.
inline void forwardFew(Runtime& rt, const std::vector<const Located*>& pairs, int64_t heads, float* room, int64_t roomFloats, float* out, float* logSums) {
  int64_t keys = 0;
  for (const Located* located : pairs) keys += located->pair.m;
  const int64_t most = std::max(kFewPiece, ceilDiv(keys, rt.pool.threads() * kPiecesPerThread));
  std::vector<FewPart> parts;
  int64_t place = 0;
  for (size_t i = 0; i < pairs.size(); i++) {
    const AttentionPair& pair = pairs[i]->pair;
    const int64_t from = pair.firstKey(0), seen = std::max<int64_t>(0, pair.m - from), count = std::max<int64_t>(1, ceilDiv(seen, most));
    for (int64_t p = 0; p < count; p++) {
      parts.push_back({i, pair, from + seen * p / count, from + seen * (p + 1) / count, place});
      place += partialFloats(pair);
    }
  }
  forwardParts(rt, pairs, parts, keys, heads, room, roomFloats, out, logSums);
}

inline void forwardMany(Runtime& rt, const std::vector<const Located*>& pairs, int64_t heads, int64_t size, float* room, int64_t roomFloats, float* out, float* logSums) {
  const int64_t perKey = 2 * size;
  for (size_t next = 0; next < pairs.size();) {
    Wave wave(rt, pairs, next, perKey);
    next = wave.end();
    wave.cut(kPiecesPerThread);
    auto memory = rt.scratch<float>(static_cast<size_t>(wave.packedFloats(perKey)));
    wave.pack(memory.get(), perKey, room, roomFloats, [&](float* at, int64_t m) { return PackedKeys{at, nullptr, nullptr, at + m * size}; });
    rt.pool.run(static_cast<int64_t>(wave.pieces().size()), [&](int64_t i, int worker) {
      const Piece& piece = wave.pieces()[static_cast<size_t>(i)];
      const Located& located = *pairs[piece.pair];
      float* sums = logSums == nullptr ? nullptr : logSums + located.logSumOffset;
      rt.isa.attention.forward(located.pair, piece.first, piece.end, wave.packedOf(piece.pair), room + roomFloats * worker, out + located.queryOffset, sums, heads);
    });
  }
}

}  // namespace graft::attentionPlan
