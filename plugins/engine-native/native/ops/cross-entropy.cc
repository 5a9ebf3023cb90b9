// The output layer with its loss.
#include "registry.h"

namespace graft {

const std::vector<NamedOperation> crossEntropyOperations = {};

}  // namespace graft
