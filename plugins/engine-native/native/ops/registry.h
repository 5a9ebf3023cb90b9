// The operations of each file of this folder.
#pragma once
#include <vector>

#include "../runtime/runtime.h"

namespace graft {

extern const std::vector<NamedOperation> linearOperations;
extern const std::vector<NamedOperation> peakOperations;
extern const std::vector<NamedOperation> optimizerOperations;
extern const std::vector<NamedOperation> elementOperations;
extern const std::vector<NamedOperation> binaryOperations;
extern const std::vector<NamedOperation> reduceOperations;
extern const std::vector<NamedOperation> moveOperations;
extern const std::vector<NamedOperation> gatherOperations;
extern const std::vector<NamedOperation> crossEntropyOperations;
extern const std::vector<NamedOperation> attentionOperations;
extern const std::vector<NamedOperation> attentionCachedOperations;
extern const std::vector<NamedOperation> rowOperations;
extern const std::vector<NamedOperation> lookupOperations;

}  // namespace graft
