// The kernels of tfjs's own operations, by theme.
#include "functions.inl.h"
#include "unary.inl.h"
#include "binary.inl.h"
#include "reduce.inl.h"
#include "move.inl.h"

namespace {

const graft::ElementKernels elementsKernels = {
    elements::unaryKernels,
    elements::floatArithmetic,
    elements::intArithmetic,
    elements::mapPairs<float, float, elements::quotient>,
    elements::mapPairs<float, float, elements::prelu>,
    elements::mapPairs<float, float, elements::eluGrad>,
    elements::comparisonsOf<float>(),
    elements::comparisonsOf<int32_t>(),
    elements::comparisonsOf<uint8_t>(),
    elements::reduceKernels,
    elements::transposeWords,
};

}  // namespace
