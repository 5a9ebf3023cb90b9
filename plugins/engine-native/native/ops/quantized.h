// Frozen weights in fewer bits: int8 with a scale per row, and QLoRA's nf4.
#pragma once
#include <cstdint>

#include "weight.h"

namespace graft {

// value = code * scale of its row, scale = the row's largest magnitude / 127. Throws std::runtime_error where a number is not finite.
void quantizeInt8(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored);
void readInt8(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out);
void readInt8(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out);

// See isa/quant.h. With double quantization: the absmax of each block of 64 is kept as an 8-bit code, as bitsandbytes does with
// compress_statistics. A block of zeros has values of exactly 0. Throws std::runtime_error where a number is not finite.
void quantizeNf4(Weight& weight, const Isa& isa, Pool& pool, const Storage& source, Stored stored);
void readNf4(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, float* out);
void readNf4(const Weight& weight, const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out);
// The panel of columns n0 .. n0 + n over rows k0 .. k0 + k, in bf16.
void nf4DownPanel(const Weight& weight, const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, uint16_t* out);

}  // namespace graft
