#define GRAFT_ISA_NAME "avx512"
#define GRAFT_ISA_FUNCTION isaAvx512
#include "set.inl.h"
