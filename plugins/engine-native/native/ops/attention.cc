// Attention over packed segments, and its gradients: see core/tensor/ops/attention.ts, which is the definition. A pair (a segment and a key
// head) is packed once for all its query heads; its panels of query rows are cut into pieces of about equal work for the threads.
#include <algorithm>
#include <vector>

#include "registry.h"

namespace graft {

namespace {

// Floats that the pairs that are worked on together may have packed: what is beyond waits for the next wave.
constexpr int64_t kWaveFloats = int64_t{2} << 20;
// Floats of the sums of key gradients that pieces of one pair keep apart, before the pieces are made larger.
constexpr int64_t kPartFloats = int64_t{4} << 20;
// Pieces for a thread: the more, the less the last one keeps the others waiting.
constexpr int64_t kPiecesPerThread = 6;
// Panels times keys of a piece, at least: some ten microseconds.
constexpr int64_t kLeastWork = 400;
// What a panel costs besides its keys, in keys.
constexpr int64_t kPanelWork = 24;
// Keys of a piece of few rows, at least, and keys that are packed at once.
constexpr int64_t kFewPiece = 512;
constexpr int64_t kPackPiece = 128;
constexpr int64_t kNoWindow = int64_t{1} << 30;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Located {
  AttentionPair pair;
  // Of q and what has its shape, of k and v, of log sums.
  int64_t queryOffset, keyOffset, logSumOffset;
};

// q, k, v, heads, key heads, size, scale, window (0: none), query offsets, key offsets, cos, sin (-1: no rotation).
struct Problem {
  int64_t heads, keyHeads, size, queries, keys;
  std::vector<Located> pairs;

  explicit Problem(Args& args) {
    const float* q = args.floats();
    const float* k = args.floats();
    const float* v = args.floats();
    heads = args.integer();
    keyHeads = args.integer();
    size = args.integer();
    const float scale = args.real();
    const int64_t window = args.integer();
    const std::vector<int64_t> queryOffsets = args.integers(), keyOffsets = args.integers();
    const float* cos = args.floats();
    const float* sin = args.floats();
    queries = queryOffsets.back();
    keys = keyOffsets.back();
    const int64_t group = heads / keyHeads;
    for (size_t s = 0; s + 1 < queryOffsets.size(); s++) {
      const int64_t q0 = queryOffsets[s], k0 = keyOffsets[s];
      for (int64_t head = 0; head < keyHeads; head++) {
        Located located;
        located.queryOffset = (q0 * heads + head * group) * size;
        located.keyOffset = (k0 * keyHeads + head) * size;
        located.logSumOffset = q0 * heads + head * group;
        AttentionPair& pair = located.pair;
        pair.q = q + located.queryOffset;
        pair.k = k + located.keyOffset;
        pair.v = v + located.keyOffset;
        pair.cos = cos == nullptr ? nullptr : cos + q0 * (size / 2);
        pair.sin = sin == nullptr ? nullptr : sin + q0 * (size / 2);
        pair.n = queryOffsets[s + 1] - q0;
        pair.m = keyOffsets[s + 1] - k0;
        pair.size = size;
        pair.group = group;
        pair.queryStride = heads * size;
        pair.keyStride = keyHeads * size;
        pair.window = window > 0 ? std::min(window, kNoWindow) : kNoWindow;
        pair.scale = scale;
        pairs.push_back(located);
      }
    }
  }
};

// Panels first .. end of a pair, which see keys firstKey .. endKey.
struct Piece {
  size_t pair;
  int64_t first, end, firstKey, endKey;
};

struct Reach {
  int64_t firstKey, endKey;
};

Reach reachOf(const AttentionPair& pair, int64_t panel, int64_t panelRows) {
  const int64_t lastRow = std::min(pair.rows(), (panel + 1) * panelRows) - 1;
  return {pair.firstKey(panel * panelRows / pair.group), std::max<int64_t>(0, pair.lastKey(lastRow / pair.group) + 1)};
}

int64_t workOf(const Reach& reach) { return std::max<int64_t>(0, reach.endKey - reach.firstKey) + kPanelWork; }

// Pairs of one wave, the memory they are packed in, and their pieces.
class Wave {
 public:
  // Takes pairs from `first` on, as many as fit. perKey: floats that are packed for a key.
  Wave(Runtime& rt, const std::vector<const Located*>& pairs, size_t first, int64_t perKey) : rt_(rt), pairs_(pairs), first_(first), end_(first) {
    int64_t floats = 0;
    while (end_ < pairs.size() && (end_ == first || floats + pairs[end_]->pair.m * perKey <= kWaveFloats)) floats += pairs[end_++]->pair.m * perKey;
  }

  size_t end() const { return end_; }
  const std::vector<Piece>& pieces() const { return pieces_; }

  // Cuts the panels into pieces, those of a pair in order.
  void cut(int64_t piecesPerThread) {
    const int64_t panelRows = rt_.isa.attention.panelRows;
    int64_t work = 0;
    for (size_t i = first_; i < end_; i++) {
      for (int64_t panel = 0; panel * panelRows < pairs_[i]->pair.rows(); panel++) work += workOf(reachOf(pairs_[i]->pair, panel, panelRows));
    }
    const int64_t most = rt_.pool.threads() == 1 ? work : std::max(kLeastWork, ceilDiv(work, rt_.pool.threads() * piecesPerThread));
    pieces_.clear();
    for (size_t i = first_; i < end_; i++) {
      const AttentionPair& pair = pairs_[i]->pair;
      int64_t inPiece = 0;
      for (int64_t panel = 0; panel * panelRows < pair.rows(); panel++) {
        const Reach reach = reachOf(pair, panel, panelRows);
        const int64_t own = workOf(reach);
        // A panel that leaves less than half a piece behind belongs to this one.
        if (panel == 0 || inPiece + own / 2 > most) {
          pieces_.push_back({i, panel, panel, reach.firstKey, reach.endKey});
          inPiece = 0;
        }
        inPiece += own;
        pieces_.back().end = panel + 1;
        pieces_.back().endKey = reach.endKey;
      }
    }
  }

  // Packs every pair; `places` names the layouts that are made, in the memory of one pair.
  template <class Places>
  void pack(float* memory, int64_t perKey, float* room, int64_t roomFloats, const Places& places) {
    packed_.clear();
    std::vector<Piece> parts;
    for (size_t i = first_; i < end_; i++) {
      const int64_t m = pairs_[i]->pair.m, step = ceilDiv(kPackPiece, rt_.isa.attention.tileKeys) * rt_.isa.attention.tileKeys;
      packed_.push_back(places(memory, m));
      memory += m * perKey;
      for (int64_t key = 0; key < m; key += step) parts.push_back({i, 0, 0, key, std::min(m, key + step)});
    }
    rt_.pool.run(static_cast<int64_t>(parts.size()), [&](int64_t i, int worker) {
      const Piece& part = parts[static_cast<size_t>(i)];
      rt_.isa.attention.pack(pairs_[part.pair]->pair, part.firstKey, part.endKey, packedOf(part.pair), room + roomFloats * worker);
    });
  }

  int64_t packedFloats(int64_t perKey) const {
    int64_t floats = 0;
    for (size_t i = first_; i < end_; i++) floats += pairs_[i]->pair.m * perKey;
    return std::max<int64_t>(1, floats);
  }
  const PackedKeys& packedOf(size_t pair) const { return packed_[pair - first_]; }

 private:
  Runtime& rt_;
  const std::vector<const Located*>& pairs_;
  size_t first_, end_;
  std::vector<Piece> pieces_;
  std::vector<PackedKeys> packed_;
};

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
    Wave wave(rt, all, first, perKey);
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
