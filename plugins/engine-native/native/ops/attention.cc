// Attention over packed segments.
#include "registry.h"

namespace graft {

const std::vector<NamedOperation> attentionOperations = {};

}  // namespace graft
