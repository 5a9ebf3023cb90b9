// RMSNorm, rotary embedding, SwiGLU and dropout.
#include "registry.h"

namespace graft {

const std::vector<NamedOperation> rowOperations = {};

}  // namespace graft
