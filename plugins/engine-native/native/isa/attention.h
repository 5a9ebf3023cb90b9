// Kernels of attention. The unit of work is a pair: one segment and one key head, with all the query heads that share it. Its queries
// are numbered row = query * group + head, so that the heads of a group and neighbouring queries, which see nearly the same keys, stand
// side by side; `panelRows` of these rows are a panel, and fill the lanes of a vector: scores are computed as S^T [keys][rows], whose
// columns are the right side of the next product without being turned or packed.
#pragma once
#include <cstdint>

namespace graft {

struct AttentionPair {
  // From the segment's first token and, of q, the group's first head on.
  const float* q;
  const float* k;
  const float* v;
  // [n, size / 2] from the segment's first token on: q and k are turned by them as they are packed. nullptr: they are not.
  const float* cos;
  const float* sin;
  // n queries, m keys, `size` numbers to a head, `group` query heads to the key head.
  int64_t n, m, size, group;
  // Numbers from a token to the next in q (and what has its shape), and in k and v.
  int64_t queryStride, keyStride;
  // Query i sees key m - n + i and up to window - 1 before it. Less than 2^30.
  int64_t window;
  float scale;

  int64_t rows() const { return n * group; }
  int64_t lastKey(int64_t query) const { return m - n + query; }
  int64_t firstKey(int64_t query) const {
    const int64_t first = lastKey(query) - window + 1;
    return first > 0 ? first : 0;
  }
};

// Keys and values as the left sides of products, m * size floats each; nullptr: not needed.
// Across: for each `tileKeys` keys [size][keys]. Down: for each block of `size` [m][columns].
struct PackedKeys {
  float* keysAcross;
  float* keysDown;
  float* valuesAcross;
  float* valuesDown;
};

// What the backward reads and makes for a pair; pointers from its first row and head on like q.
struct AttentionGradients {
  const float* out;
  const float* dOut;
  const float* logSums;
  int64_t logSumStride;
  // nullptr: not wanted.
  float* dq;
  // Sums over the rows of one piece, [keys from `firstKey` on][paddedSize], to be 0 at first; nullptr: not wanted.
  float* dk;
  float* dv;
  int64_t firstKey;
};

// One part of the sums of a pair's keys firstKey .. endKey.
struct KeyGradientPart {
  const float* dk;
  const float* dv;
  int64_t firstKey, endKey;
};

struct AttentionKernels {
  int panelRows;
  // Keys are cut between threads at multiples of it.
  int tileKeys;

  // `size` rounded up to the width of a product.
  int64_t (*paddedSize)(int64_t size);
  // Floats of the memory that a thread needs to work in.
  int64_t (*room)(int64_t size);

  // Packs keys from .. to, which begin at a multiple of tileKeys.
  void (*pack)(const AttentionPair& pair, int64_t from, int64_t to, const PackedKeys& packed, float* room);

  // Panels first .. end of the pair: rows of out, and log sum exp of their scores (nullptr: not wanted), `logSumStride` from token to token.
  void (*forward)(const AttentionPair& pair, int64_t first, int64_t end, const PackedKeys& packed, float* room, float* out, float* logSums, int64_t logSumStride);
  void (*backward)(const AttentionPair& pair, int64_t first, int64_t end, const PackedKeys& packed, float* room, const AttentionGradients& gradients);
  // Adds up the parts of keys from .. to, turns dk back, and writes both to dk and dv (nullptr: not wanted) of the pair.
  void (*keyGradients)(const AttentionPair& pair, const KeyGradientPart* parts, int64_t count, int64_t from, int64_t to, float* room, float* dk, float* dv);

  // Few rows against many keys, which are read once, as they lie, without rotation. Keys from .. to of the pair -> for each row the largest
  // score, the sum of exponentials, and the weighted values: [rows][2 + size].
  void (*few)(const AttentionPair& pair, int64_t from, int64_t to, float* room, float* partial);
  // `count` of these partial results, one after the other -> rows of out and log sum exp.
  void (*combineFew)(const AttentionPair& pair, const float* partials, int64_t count, float* out, float* logSums, int64_t logSumStride);
  // The most rows that `few` takes.
  int fewRows;
};

}  // namespace graft
