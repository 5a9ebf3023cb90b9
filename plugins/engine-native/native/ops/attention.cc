// Attention over packed segments, and its gradients: see core/tensor/ops/attention.ts, which is the definition.
#include "attention-plan.h"
#include "registry.h"

namespace graft {

namespace {

using namespace attentionPlan;

// Keys of a piece of few rows, at least.
constexpr int64_t kFewPiece = 512;
// Floats of the sums of key gradients that pieces of one pair keep apart, before the pieces are made larger.
constexpr int64_t kPartFloats = int64_t{3} << 19;

// Pairs of few rows: their keys are cut, since one token against a long cache is all there is to do.
void forwardFew(Runtime& rt, const std::vector<const Located*>& pairs, int64_t heads, float* room, int64_t roomFloats, float* out, float* logSums) {
  struct Part {
    size_t pair;
    int64_t from, to, place;
  };
  int64_t keys = 0;
  for (const Located* located : pairs) keys += located->pair.m;
  const int64_t most = std::max(kFewPiece, ceilDiv(keys, rt.pool.threads() * kPiecesPerThread));
  std::vector<Part> parts;
  std::vector<size_t> firstPart;
  int64_t floats = 0;
  for (size_t i = 0; i < pairs.size(); i++) {
    const AttentionPair& pair = pairs[i]->pair;
    const int64_t from = pair.firstKey(0), seen = std::max<int64_t>(0, pair.m - from), count = std::max<int64_t>(1, ceilDiv(seen, most));
    firstPart.push_back(parts.size());
    for (int64_t p = 0; p < count; p++) {
      parts.push_back({i, from + seen * p / count, from + seen * (p + 1) / count, floats});
      floats += pair.rows() * (2 + pair.size);
    }
  }
  firstPart.push_back(parts.size());
  auto partials = rt.scratch<float>(static_cast<size_t>(std::max<int64_t>(1, floats)));
  rt.pool.ranges(static_cast<int64_t>(parts.size()), std::max<int64_t>(1, 64 * static_cast<int64_t>(parts.size()) / std::max<int64_t>(1, keys)), [&](int64_t from, int64_t to, int worker) {
    for (int64_t i = from; i < to; i++) {
      const Part& part = parts[static_cast<size_t>(i)];
      rt.isa.attention.few(pairs[part.pair]->pair, part.from, part.to, room + roomFloats * worker, partials.get() + part.place);
    }
  });
  for (size_t i = 0; i < pairs.size(); i++) {
    const Located& located = *pairs[i];
    float* sums = logSums == nullptr ? nullptr : logSums + located.logSumOffset;
    const auto count = static_cast<int64_t>(firstPart[i + 1] - firstPart[i]);
    rt.isa.attention.combineFew(located.pair, partials.get() + parts[firstPart[i]].place, count, out + located.queryOffset, sums, heads);
  }
}

// the problem; outputs [queries, heads, size] and log sums [queries, heads] (-1: not wanted).
void attention(Runtime& rt, Args& args) {
  const Problem problem(args);
  float* out = args.output(static_cast<size_t>(problem.queries * problem.heads * problem.size));
  float* logSums = args.output(static_cast<size_t>(problem.queries * problem.heads));
  const AttentionKernels& kernels = rt.isa.attention;
  const int64_t roomFloats = kernels.room(problem.size);
  auto room = rt.scratch<float>(static_cast<size_t>(roomFloats * rt.pool.threads()));

  std::vector<const Located*> few, many;
  for (const Located& located : problem.pairs) {
    if (located.pair.n == 0) continue;
    // A single token's turn changes no score of its own.
    const bool turned = located.pair.cos != nullptr && located.pair.n > 1;
    (located.pair.rows() <= kernels.fewRows && !turned ? few : many).push_back(&located);
  }
  if (!few.empty()) forwardFew(rt, few, problem.heads, room.get(), roomFloats, out, logSums);

  const int64_t perKey = 2 * problem.size;
  for (size_t next = 0; next < many.size();) {
    Wave wave(rt, many, next, perKey);
    next = wave.end();
    wave.cut(kPiecesPerThread);
    auto memory = rt.scratch<float>(static_cast<size_t>(wave.packedFloats(perKey)));
    wave.pack(memory.get(), perKey, room.get(), roomFloats, [&](float* at, int64_t m) { return PackedKeys{at, nullptr, nullptr, at + m * problem.size}; });
    rt.pool.run(static_cast<int64_t>(wave.pieces().size()), [&](int64_t i, int worker) {
      const Piece& piece = wave.pieces()[static_cast<size_t>(i)];
      const Located& located = *many[piece.pair];
      float* sums = logSums == nullptr ? nullptr : logSums + located.logSumOffset;
      kernels.forward(located.pair, piece.first, piece.end, wave.packedOf(piece.pair), room.get() + roomFloats * worker, out + located.queryOffset, sums, problem.heads);
    });
  }
}

// Sums of a wave's key gradients: each piece adds up its own, and these are added in the order of the pieces, so that threads change no bit.
struct KeySums {
  std::vector<KeyGradientPart> parts;
  int64_t floats = 0;

  KeySums(const std::vector<Piece>& pieces, int64_t tileKeys, int64_t padded, int64_t perKey) {
    for (const Piece& piece : pieces) {
      const int64_t from = piece.firstKey / tileKeys * tileKeys;
      parts.push_back({nullptr, nullptr, from, std::max(from, piece.endKey)});
      floats += (parts.back().endKey - from) * padded * perKey;
    }
  }
};

// the problem, the output, its gradient, log sums; outputs dq, dk, dv (-1: not wanted).
void attentionBackward(Runtime& rt, Args& args) {
  const Problem problem(args);
  const float* out = args.floats();
  const float* dOut = args.floats();
  const float* logSums = args.floats();
  float* dq = args.output(static_cast<size_t>(problem.queries * problem.heads * problem.size));
  float* dk = args.output(static_cast<size_t>(problem.keys * problem.keyHeads * problem.size));
  float* dv = args.output(static_cast<size_t>(problem.keys * problem.keyHeads * problem.size));
  const AttentionKernels& kernels = rt.isa.attention;
  const int64_t roomFloats = kernels.room(problem.size), padded = kernels.paddedSize(problem.size);
  auto room = rt.scratch<float>(static_cast<size_t>(roomFloats * rt.pool.threads()));
  std::vector<const Located*> all;
  for (const Located& located : problem.pairs) all.push_back(&located);

  const int64_t perKey = 3 * problem.size, sumsPerKey = (dk == nullptr ? 0 : 1) + (dv == nullptr ? 0 : 1);
  for (size_t next = 0; next < all.size();) {
    const size_t first = next;
    Wave wave(rt, all, first, perKey + sumsPerKey * padded);
    next = wave.end();
    wave.cut(kPiecesPerThread);
    for (const int64_t fewer : {2, 1}) {
      if (KeySums(wave.pieces(), kernels.tileKeys, padded, sumsPerKey).floats > kPartFloats) wave.cut(fewer);
    }
    KeySums sums(wave.pieces(), kernels.tileKeys, padded, sumsPerKey);
    auto memory = rt.scratch<float>(static_cast<size_t>(wave.packedFloats(perKey)));
    auto sumMemory = rt.scratch<float>(static_cast<size_t>(std::max<int64_t>(1, sums.floats)));
    float* at = sumMemory.get();
    for (auto& part : sums.parts) {
      const int64_t floats = (part.endKey - part.firstKey) * padded;
      if (dk != nullptr) part.dk = at;
      if (dv != nullptr) part.dv = at + (dk == nullptr ? 0 : floats);
      at += floats * sumsPerKey;
    }

    wave.pack(memory.get(), perKey, room.get(), roomFloats, [&](float* to, int64_t m) {
      const int64_t floats = m * problem.size;
      return PackedKeys{to, to + floats, to + 2 * floats, nullptr};
    });
    rt.pool.run(static_cast<int64_t>(wave.pieces().size()), [&](int64_t i, int worker) {
      const Piece& piece = wave.pieces()[static_cast<size_t>(i)];
      const Located& located = *all[piece.pair];
      const KeyGradientPart& part = sums.parts[static_cast<size_t>(i)];
      const int64_t floats = (part.endKey - part.firstKey) * padded;
      auto* ownDk = const_cast<float*>(part.dk);
      auto* ownDv = const_cast<float*>(part.dv);
      if (ownDk != nullptr) std::fill_n(ownDk, floats, 0.0f);
      if (ownDv != nullptr) std::fill_n(ownDv, floats, 0.0f);
      const AttentionGradients gradients{out + located.queryOffset, dOut + located.queryOffset, logSums + located.logSumOffset, problem.heads, dq == nullptr ? nullptr : dq + located.queryOffset, ownDk, ownDv, part.firstKey};
      kernels.backward(located.pair, piece.first, piece.end, wave.packedOf(piece.pair), room.get() + roomFloats * worker, gradients);
    });
    if (sumsPerKey == 0) continue;

    // Each pair's keys, with the parts that its pieces made.
    struct Keys {
      size_t pair;
      int64_t firstPart, parts, from, to;
    };
    std::vector<Keys> keys;
    for (size_t i = first, part = 0; i < next; i++) {
      const size_t begin = part;
      while (part < wave.pieces().size() && wave.pieces()[part].pair == i) part++;
      const int64_t m = all[i]->pair.m;
      for (int64_t key = 0; key < m; key += kPackPiece) keys.push_back({i, static_cast<int64_t>(begin), static_cast<int64_t>(part - begin), key, std::min(m, key + kPackPiece)});
    }
    rt.pool.run(static_cast<int64_t>(keys.size()), [&](int64_t i, int worker) {
      const Keys& some = keys[static_cast<size_t>(i)];
      const Located& located = *all[some.pair];
      float* toDk = dk == nullptr ? nullptr : dk + located.keyOffset;
      float* toDv = dv == nullptr ? nullptr : dv + located.keyOffset;
      kernels.keyGradients(located.pair, sums.parts.data() + some.firstPart, some.parts, some.from, some.to, room.get() + roomFloats * worker, toDk, toDv);
    });
  }
}

}  // namespace

const std::vector<NamedOperation> attentionOperations = {{"attention", attention}, {"attentionBackward", attentionBackward}};

}  // namespace graft
