// How attention is cut up: into pairs, of which a wave is packed at a time, and those into pieces of about equal work for the threads.
#pragma once
#include <algorithm>
#include <vector>

#include "../runtime/runtime.h"
#include "ceil-div.h"

namespace graft::attentionPlan {

// Floats that the pairs that are worked on together may need: what is beyond waits for the next wave.
constexpr int64_t kWaveFloats = int64_t{2} << 20;
// Pieces for a thread: the more, the less the last one keeps the others waiting.
constexpr int64_t kPiecesPerThread = 6;
// Panels times keys of a piece, at least: some ten microseconds.
constexpr int64_t kLeastWork = 400;
// What a panel costs besides its keys, in keys.
constexpr int64_t kPanelWork = 24;
// Keys that are packed at once.
constexpr int64_t kPackPiece = 128;
constexpr int64_t kNoWindow = int64_t{1} << 30;

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

inline Reach reachOf(const AttentionPair& pair, int64_t panel, int64_t panelRows) {
  const int64_t lastRow = std::min(pair.rows(), (panel + 1) * panelRows) - 1;
  return {pair.firstKey(panel * panelRows / pair.group), std::max<int64_t>(0, pair.lastKey(lastRow / pair.group) + 1)};
}

inline int64_t workOf(const Reach& reach) { return std::max<int64_t>(0, reach.endKey - reach.firstKey) + kPanelWork; }

// Pairs of one wave, the memory they are packed in, and their pieces.
class Wave {
 public:
  // Takes pairs from `first` on, as many as fit. perKey: floats that are needed for a key.
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

}  // namespace graft::attentionPlan
