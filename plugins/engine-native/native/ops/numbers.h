// Numbers as JavaScript's typed arrays take them.
#pragma once
#include <cmath>
#include <cstdint>

namespace graft {

// What an Int32Array makes of a number: truncated, modulo 2^32; 0 of what is not finite.
inline int32_t wrapped(double x) {
  if (x > -2147483649.0 && x < 2147483648.0) return static_cast<int32_t>(x);
  if (!std::isfinite(x)) return 0;
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<int64_t>(std::fmod(std::trunc(x), 4294967296.0))));
}

}  // namespace graft
