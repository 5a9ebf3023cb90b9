// See attention.h for what each function computes; gemm.inl.h has the tiles that do nearly all of the work.
#include "attention-pack.inl.h"
#include "attention-forward.inl.h"
#include "attention-backward.inl.h"
#include "attention-few.inl.h"

namespace {

int64_t attentionRoom(int64_t size) {
  const int64_t forward = forwardRoom(size), backward = backwardRoom(size), few = fewRoom(size), rows = kTileColumns * paddedSize(size);
  return larger64(larger64(forward, backward), larger64(few, rows)) + 64;
}

const graft::AttentionKernels attentionKernels = {
    kTileColumns, kTileRows, paddedSize, attentionRoom, packKeys, attend, attendBackward, keyGradients, attendFew, combineFew, kFewRows,
};

}  // namespace
