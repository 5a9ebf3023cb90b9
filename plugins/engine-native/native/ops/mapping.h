// Weights straight from a file.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "weight.h"

namespace graft {

// Bytes [offset, offset + bytes) of a file in memory of their own. Throws std::runtime_error where it can't be read.
std::unique_ptr<Storage> readFile(const std::string& path, int64_t offset, int64_t bytes);
// The same mapped: read as products use it, and let go when another mapping is read.
std::unique_ptr<Storage> mapFile(const std::string& path, int64_t offset, int64_t bytes);

}  // namespace graft
