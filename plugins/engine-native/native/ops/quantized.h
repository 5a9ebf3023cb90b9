// Frozen weights in fewer bits: int8 with a scale per row, and QLoRA's nf4.
#pragma once
#include <cstdint>

#include "weight.h"

namespace graft {

void quantizeInt8(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored);
void readInt8(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out);
void quantizeNf4(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored);
void readNf4(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out);

}  // namespace graft
