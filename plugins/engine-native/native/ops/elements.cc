// tfjs's kernels.
#include "registry.h"

namespace graft {

const std::vector<NamedOperation> elementOperations = {};

}  // namespace graft
