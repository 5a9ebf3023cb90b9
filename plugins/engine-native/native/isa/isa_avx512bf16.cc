#define GRAFT_ISA_NAME "avx512bf16"
#define GRAFT_ISA_FUNCTION isaAvx512Bf16
#include "set.inl.h"
