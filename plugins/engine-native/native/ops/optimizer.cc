// AdamW and the norm of gradients.
#include "registry.h"

namespace graft {

const std::vector<NamedOperation> optimizerOperations = {};

}  // namespace graft
