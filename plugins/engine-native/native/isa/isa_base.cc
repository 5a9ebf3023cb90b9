#define GRAFT_ISA_NAME "base"
#define GRAFT_ISA_FUNCTION isaBase
#include "set.inl.h"
