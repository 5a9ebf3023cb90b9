// Attention over packed segments, and its gradients: see core/tensor/ops/attention.ts, which is the definition.
#include "attention-forward.h"
#include "registry.h"

namespace graft {

namespace {

using namespace attentionPlan;

// Floats of the sums of key gradients that pieces of one pair keep apart, before the pieces are made larger.
constexpr int64_t kPartFloats = int64_t{3} << 19;

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

  forwardMany(rt, many, problem.heads, problem.size, room.get(), roomFloats, out, logSums);
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
