#pragma once
#include <cstdint>

namespace graft {

// How many pieces of b make up a.
inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace graft
