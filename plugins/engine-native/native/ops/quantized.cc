#include "quantized.h"

#include <stdexcept>

namespace graft {

void quantizeInt8(Weight&, const Isa&, Pool&, const Storage&, Stored) { throw std::runtime_error("int8 is not built yet"); }
void readInt8(const Weight&, const Isa&, int64_t, int64_t, int64_t, float*) {}
void quantizeNf4(Weight&, const Isa&, Pool&, const Storage&, Stored) { throw std::runtime_error("nf4 is not built yet"); }
void readNf4(const Weight&, const Isa&, int64_t, int64_t, int64_t, float*) {}

}  // namespace graft
