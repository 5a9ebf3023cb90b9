#include "registry.h"

namespace graft {

const std::vector<NamedOperation>& operations() {
  static const std::vector<NamedOperation> all = [] {
    std::vector<NamedOperation> list;
    for (const auto* part : {&linearOperations, &lookupOperations, &attentionOperations, &attentionCachedOperations, &rowOperations, &crossEntropyOperations, &optimizerOperations, &elementOperations, &binaryOperations, &reduceOperations, &moveOperations,
                             &gatherOperations, &peakOperations}) {
      list.insert(list.end(), part->begin(), part->end());
    }
    return list;
  }();
  return all;
}

}  // namespace graft
