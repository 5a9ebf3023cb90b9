#define GRAFT_ISA_NAME "avx2"
#define GRAFT_ISA_FUNCTION isaAvx2
#include "set.inl.h"
